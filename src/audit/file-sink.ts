/**
 * Appends audit lines to a file, in order and in batches. Whoever must know that a line is on disk waits for its
 * batch; all others are written within `auditFlushMs`. When the disk refuses, the bytes stay here, in order and up
 * to a bound, and are tried again; a batch that was half written goes on where it stopped.
 */
import { constants, writeSync } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { auditBufferBytesMax, auditFlushMs } from '../limits.ts';

export interface FileSinkOptions {
  readonly path: string;
  /** Whether a durable line waits for the disk itself (fdatasync). */
  readonly fsync: boolean;
  /** Called when the file stops or starts taking lines. */
  onUp(up: boolean, error: unknown): void;
}

interface Batch {
  readonly bytes: Buffer;
  readonly waiters: readonly Waiter[];
}

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

/** The buffer is full or closed, and the line is lost. */
export class AuditBufferError extends Error {}

export class FileSink {
  readonly name = 'file';
  readonly #options: FileSinkOptions;
  #log: OpenLog;
  #lines: string[] = [];
  #waiters: Waiter[] = [];
  #bufferedBytes = 0;
  /** What a failed write left over. */
  #rest: Buffer = Buffer.alloc(0);
  /** Whether durable lines were written that the disk has not confirmed. */
  #unsynced = false;
  #up = true;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #reopen = false;
  #closed = false;

  private constructor(options: FileSinkOptions, log: OpenLog) {
    this.#options = options;
    this.#log = log;
  }

  /** Opens or creates the file (mode 0600); a last line torn by a crash is ended, so that ours starts on its own. */
  static async open(options: FileSinkOptions): Promise<FileSink> {
    await mkdir(dirname(options.path), { recursive: true });
    return new FileSink(options, await openLog(options.path));
  }

  /** False while the file does not take lines. */
  get up(): boolean {
    return this.#up;
  }

  /** Buffers a line; false when the buffer is full and the line is lost. */
  append(line: string): boolean {
    if (!this.#push(line)) return false;
    this.#flushSoon();
    return true;
  }

  /** Resolves when the line is on disk. Rejects with the file's error, or with an `AuditBufferError`. */
  appendDurable(line: string): Promise<void> {
    if (!this.#push(line)) return Promise.reject(new AuditBufferError('the audit buffer takes no more'));
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      void this.flush();
    });
  }

  /** Writes what is buffered; one writer at a time, so that lines keep their order. */
  flush(): Promise<void> {
    this.#running ??= this.#drain();
    return this.#running;
  }

  /** Writes what is buffered without waiting for anything; for a process that is ending in disorder. */
  flushNow(): void {
    const bytes = Buffer.concat([this.#rest, Buffer.from(this.#lines.join(''))]);
    this.#rest = Buffer.alloc(0);
    this.#lines = [];
    if (bytes.length > 0) writeSync(this.#log.file.fd, bytes);
  }

  /** Opens the path anew before the next write, after something else has moved the file away. */
  reopen(): void {
    this.#reopen = true;
    void this.flush();
  }

  /** Writes the rest, forces it to disk and closes. What comes later is refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.flush();
    await this.flush();
    clearTimeout(this.#timer);
    await this.#log.file.sync().catch(() => undefined);
    await this.#log.file.close();
  }

  #push(line: string): boolean {
    const bytes = Buffer.byteLength(line);
    if (this.#closed || this.#bufferedBytes + bytes > auditBufferBytesMax) return false;
    this.#bufferedBytes += bytes;
    this.#lines.push(line);
    return true;
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, auditFlushMs);
  }

  async #drain(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let written: boolean;
    do written = await this.#writeBatch();
    while (written && (this.#lines.length > 0 || this.#reopen));
    if (!written) this.#flushSoon();
    // In the same turn as the last look at the lines: whoever appends in a later one must not wait for this writer.
    this.#running = undefined;
  }

  /** Writes what is there by now. False when the file did not take it. */
  async #writeBatch(): Promise<boolean> {
    const batch = this.#nextBatch();
    try {
      await this.#reopenIfAsked();
      await this.#write(batch);
      this.#setUp(true, undefined);
      for (const waiter of batch.waiters) waiter.resolve();
      return true;
    } catch (error) {
      this.#setUp(false, error);
      for (const waiter of batch.waiters) waiter.reject(error);
      return false;
    }
  }

  #nextBatch(): Batch {
    const bytes = Buffer.concat([this.#rest, Buffer.from(this.#lines.join(''))]);
    const waiters = this.#waiters;
    this.#rest = bytes;
    this.#lines = [];
    this.#waiters = [];
    return { bytes, waiters };
  }

  async #write({ waiters }: Batch): Promise<void> {
    while (this.#rest.length > 0) {
      const { bytesWritten } = await this.#log.file.write(this.#rest);
      this.#rest = this.#rest.subarray(bytesWritten);
      this.#bufferedBytes -= bytesWritten;
    }
    this.#unsynced ||= waiters.length > 0;
    if (!this.#unsynced) return;
    if (this.#options.fsync && this.#log.hasDisk) await this.#log.file.datasync();
    this.#unsynced = false;
  }

  async #reopenIfAsked(): Promise<void> {
    if (!this.#reopen) return;
    const next = await openLog(this.#options.path);
    this.#reopen = false;
    const { file } = this.#log;
    this.#log = next;
    await file.close();
  }

  #setUp(up: boolean, error: unknown): void {
    if (up === this.#up) return;
    this.#up = up;
    this.#options.onUp(up, error);
  }
}

interface OpenLog {
  readonly file: FileHandle;
  /** A pipe or a terminal has no disk to wait for. */
  readonly hasDisk: boolean;
}

async function openLog(path: string): Promise<OpenLog> {
  const { O_APPEND, O_CREAT, O_RDWR } = constants;
  const file = await open(path, O_APPEND | O_CREAT | O_RDWR, 0o600);
  const stats = await file.stat();
  if (stats.size > 0) {
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, stats.size - 1);
    if (buffer.toString() !== '\n') await file.write('\n');
  }
  return { file, hasDisk: stats.isFile() };
}
