/**
 * Appends audit lines to a file, in order and in batches. Whoever must know that a line is on disk waits for its
 * batch; all others are written within `auditFlushMs`. When the disk refuses, the lines stay here, in order and up
 * to a bound, and are tried again; one that was half written is ended and written anew.
 *
 * A file begins with a header when the sink is given one to write, and makes way for the next one by size and age.
 * Other processes may append to the same file: `look` tells what of theirs has come. Of those that write to it all the
 * time one rotates it; the others go after it, and say in the next file where their own chain stood. Any of them can be
 * killed in the middle of a write: whoever finds the file without a line end at its end begins with one. In the moment
 * between looking and writing that can still happen, and then ours stands behind the half of another's, in one line that
 * every reader of ours takes apart (`partsOf`).
 */
import { constants, fstatSync, readSync, type Stats, writeSync } from 'node:fs';
import { type FileHandle, mkdir, open, realpath, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../clock.ts';
import {
  auditBatchBytes,
  auditBufferBytesMax,
  auditFlushMs,
  auditLeftFilesMax,
  auditLeftMs,
  auditLookBackMs,
  auditRotateRetryMs,
} from '../limits.ts';
import { hashOf, type Link, placeIn } from './chain.ts';
import { LineBuffer } from './line-buffer.ts';
import {
  type FileNumber,
  type Found,
  foundAtEnd,
  foundIn,
  headerIn,
  headerOf,
  linksIn,
  linksOfOneMax,
  nextNumber,
  type PlacedLink,
  placed,
  removeOldest,
  rotatedFiles,
  rotatedPath,
  type TornLine,
  tornEndOf,
  tornLinesMax,
} from './log-files.ts';

export interface FileSinkOptions {
  readonly path: string;
  /** Whether a durable line waits for the disk itself (fdatasync). */
  readonly fsync: boolean;
  /** Called when the file stops or starts taking lines. */
  onUp(up: boolean, error: unknown): void;
  /** The first line of every file, line end included. Without it, files have none. */
  readonly header?: (header: FileHeader) => string;
  readonly rotation?: Rotation;
  /** The line, its end included, by which we go on in a file that another process has begun: where our chain stood. */
  readonly joined?: (file: FileHeader) => string;
  /**
   * Whether other processes write to the file all the time, workers of one gateway. The one with a rotation makes it give
   * way to the next one, and the others go after it.
   */
  readonly inCompany?: boolean;
}

/** When a file makes way for the next one. */
export interface Rotation {
  readonly bytesMax: number;
  readonly ageMsMax: number | undefined;
  /** Rotated files kept; `undefined` keeps all. */
  readonly keep: number | undefined;
  readonly clock: Clock;
  /** @param error why it has to wait; the file goes on meanwhile */
  onRotated(file: string, error: unknown): void;
}

/** What a new file's header tells: which file it is, and where the chains stood at the end of the one before. */
export interface FileHeader extends FileNumber {
  readonly links: readonly PlacedLink[];
}

/** What came into the file beside our own lines since the last look. */
export interface Seen {
  /** The last line of each chain that somebody else has written to, our own perhaps among them. */
  readonly links: readonly PlacedLink[];
  readonly torn: readonly TornLine[];
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
  readonly #lines = new LineBuffer();
  #waiters: Waiter[] = [];
  #lookers: Array<(seen: Seen) => void> = [];
  #bufferedBytes = 0;
  /** What a failed write left over; begins with a whole line. */
  #rest: Buffer = Buffer.alloc(0);
  /** Without its line end. */
  #lastLine: Buffer = Buffer.alloc(0);
  /** What is being written at this moment. */
  #inFlight: Buffer | undefined;
  /** Lines that were left half written, and nobody was told of yet. */
  #torn: TornLine[];
  /** What was found in the file at opening, or in one that was left, until somebody asks. */
  #links: readonly PlacedLink[];
  /** Files that were rotated away moments ago: another process may still write to them, and be killed behind that. */
  #left: Left[] = [];
  /** Whether durable lines were written that the disk has not confirmed. */
  #unsynced = false;
  #up = true;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  /** Whether somebody wants written what has come since the writer last took a batch. */
  #isAsked = false;
  #reopen = false;
  #rotateNotBeforeMs = 0;
  #closed = false;

  private constructor(options: FileSinkOptions, log: OpenLog) {
    this.#options = options;
    this.#log = log;
    this.#torn = [...log.torn];
    this.#links = log.links;
  }

  /** Opens or creates the file (mode 0600); a last line torn by a crash is ended, so that ours starts on its own. */
  static async open(options: FileSinkOptions): Promise<FileSink> {
    await mkdir(dirname(options.path), { recursive: true });
    return new FileSink(options, await openLog(options, undefined));
  }

  /** False while the file does not take lines. */
  get up(): boolean {
    return this.#up;
  }

  /** Whether a line would be taken now. */
  hasRoomFor(line: string): boolean {
    if (this.#closed) return false;
    const room = auditBufferBytesMax - this.#bufferedBytes;
    return line.length * 3 <= room || Buffer.byteLength(line) <= room;
  }

  /** Buffers a line; false when the buffer is full and the line is lost. */
  append(line: string): boolean {
    if (!this.#push(line)) return false;
    if (this.#lines.length >= auditBatchBytes && this.#up) void this.flush();
    else this.#flushSoon();
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

  /** What came into the file beside our own lines since the last look. Never rejects. */
  look(): Promise<Seen> {
    if (this.#closed) return Promise.resolve({ links: [], torn: [] });
    return new Promise((resolve) => {
      this.#lookers.push(resolve);
      void this.flush();
    });
  }

  /** Writes what is buffered; one writer at a time, so that lines keep their order. */
  flush(): Promise<void> {
    this.#isAsked = true;
    this.#running ??= this.#drain();
    return this.#running;
  }

  /** Writes what is buffered without waiting for anything; for a process that is ending in disorder. */
  flushNow(): void {
    const lines = this.#lines.take();
    const isBehind = this.#inFlight !== undefined && this.#arrives(this.#inFlight.length);
    const bytes = isBehind ? lines : Buffer.concat([this.#rest, lines]);
    this.#rest = Buffer.alloc(0);
    if (bytes.length > 0) writeSync(this.#log.file.fd, Buffer.concat([this.#lineEnd(), bytes]));
  }

  /** Whether the bytes that another thread writes are there soon: a line twice would look like a forged one. */
  #arrives(bytes: number): boolean {
    const { file, hasDisk, lookedBytes, ownBytes } = this.#log;
    if (!hasDisk) return true;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    for (let tries = 0; tries < 100; tries += 1) {
      if (fstatSync(file.fd).size >= lookedBytes + ownBytes + bytes) return true;
      Atomics.wait(pause, 0, 0, 1);
    }
    return false;
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
    for (const { log } of this.#left.splice(0)) await log.file.close();
  }

  #push(line: string): boolean {
    if (!this.hasRoomFor(line)) return false;
    this.#bufferedBytes += this.#lines.push(line);
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
    do {
      this.#isAsked = false;
      written = await this.#writeBatch();
      await this.#lookAround();
    } while (written && this.#isAsked);
    if (!written) this.#flushSoon();
    // In the same turn as the last look at who has asked: whoever appends in a later one must not wait for this writer.
    this.#running = undefined;
  }

  /** Writes what is there by now. False when the file did not take it. */
  async #writeBatch(): Promise<boolean> {
    const waiters = this.#takeBatch();
    try {
      await this.#reopenIfAsked();
      await this.#rotateIfDue();
      if (this.#follows && this.#rest.length > 0) await this.#goAfter();
      await this.#write(waiters.length > 0);
      this.#setUp(true, undefined);
      for (const waiter of waiters) waiter.resolve();
      return true;
    } catch (error) {
      this.#setUp(false, error);
      for (const waiter of waiters) waiter.reject(error);
      return false;
    }
  }

  #takeBatch(): readonly Waiter[] {
    if (this.#lines.length > 0) {
      const lines = this.#lines.take();
      this.#rest = this.#rest.length === 0 ? lines : Buffer.concat([this.#rest, lines]);
    }
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }

  async #write(durable: boolean): Promise<void> {
    if (this.#rest.length > 0) await this.#writeRest();
    this.#unsynced ||= durable;
    if (!this.#unsynced) return;
    if (this.#options.fsync && this.#log.hasDisk) await this.#log.file.datasync();
    this.#unsynced = false;
  }

  async #writeRest(): Promise<void> {
    if (!this.#up && this.#log.hasDisk) await this.#findTornEnd();
    const inCompany = this.#options.inCompany === true;
    if (!inCompany && this.#log.endsTorn) await this.#writeBytes(this.#lineEnd());
    const batch = this.#rest;
    let offset = 0;
    try {
      if (inCompany) {
        // Looked at in the same turn: another process has no more than an instant in which to leave half a line.
        const begun = this.#lineEnd();
        const bytesWritten = await this.#writeBytes(Buffer.concat([begun, batch]));
        offset = Math.max(0, bytesWritten - begun.length);
        // Somebody else's line may be behind it by now: nothing more can follow as if it were ours.
        if (offset < batch.length) throw diskFull();
      }
      while (offset < batch.length) offset += await this.#writeBytes(batch.subarray(offset));
      this.#rest = Buffer.alloc(0);
      this.#bufferedBytes -= batch.length;
      this.#lastLine = batch.subarray(batch.lastIndexOf(lineEnd, -2) + 1, -1);
    } catch (error) {
      this.#keepFrom(batch, offset);
      throw error;
    }
  }

  async #writeBytes(bytes: Buffer): Promise<number> {
    this.#inFlight = bytes;
    const { bytesWritten } = await this.#log.file.write(bytes).finally(() => {
      this.#inFlight = undefined;
    });
    if (bytesWritten > 0) this.#log.endsTorn = bytes[bytesWritten - 1] !== lineEnd;
    this.#log.ownBytes += bytesWritten;
    return bytesWritten;
  }

  /** Another process may have been killed in the middle of a line, and nobody opens the file anew. */
  async #findOthersTornEnd(): Promise<void> {
    const { file, hasDisk, lookedBytes, ownBytes } = this.#log;
    if (!hasDisk || (await file.stat()).size === lookedBytes + ownBytes) return;
    await this.#findTornEnd(await settledSize(file));
  }

  /** While the disk was full, another process may have left half a line as well. */
  async #findTornEnd(size?: number): Promise<void> {
    const { file } = this.#log;
    const torn = await tornEndOf(file, size ?? (await file.stat()).size);
    this.#log.endsTorn = torn !== undefined;
    if (torn !== undefined) this.#noticeTorn([torn]);
  }

  /** A line half written is written anew as a whole: somebody else's could have come right behind its first half. */
  #keepFrom(batch: Buffer, offset: number): void {
    const start = offset === 0 ? 0 : batch.lastIndexOf(lineEnd, offset - 1) + 1;
    const half = batch.subarray(start, offset);
    // It may lack nothing but its end, which comes before whatever is next; a second one would look like a forged one.
    const isWhole = half.length > 0 && batch[offset] === lineEnd;
    if (isWhole) this.#lastLine = half;
    else if (half.length > 0 && this.#torn.length < tornLinesMax)
      this.#torn.push({ bytes: half.length, hash: hashOf(half), own: true });
    const next = isWhole ? offset + 1 : start;
    this.#rest = batch.subarray(next);
    this.#bufferedBytes -= next;
  }

  #lineEnd(): Buffer {
    const endsTorn = !this.#options.inCompany ? this.#log.endsTorn : endsTornNow(this.#log);
    return Buffer.from(endsTorn ? '\n' : '');
  }

  async #lookAround(): Promise<void> {
    if (this.#lookers.length === 0) return;
    const lookers = this.#lookers;
    this.#lookers = [];
    if (!this.#options.inCompany)
      this.#notice(placed(await linksSince(this.#log).catch(() => []), this.#log.number));
    else {
      await this.#lookAtLeft();
      await this.#findOthersTornEnd().catch(() => undefined);
      await this.#lookAt(this.#log);
    }
    const seen = { links: latest(this.#links), torn: this.#torn };
    this.#links = [];
    this.#torn = [];
    for (const tell of lookers) tell(seen);
  }

  #notice(links: readonly PlacedLink[]): void {
    this.#links = [...this.#links, ...links];
  }

  #noticeTorn(torn: readonly TornLine[]): void {
    const fresh = torn.filter(({ hash }) => !this.#torn.some((one) => one.hash === hash));
    this.#torn.push(...fresh.slice(0, Math.max(0, tornLinesMax - this.#torn.length)));
  }

  /** Also for lines of another process that were cut short by its end, and ended by whoever wrote next. */
  async #lookAt(log: OpenLog): Promise<void> {
    const found = await allSince(log).catch(() => undefined);
    if (found === undefined) return;
    // Of a file of another log nothing can be said here.
    if (log.number?.log !== this.#log.number?.log) return;
    this.#notice(placed(found.links, log.number));
    this.#noticeTorn(found.torn);
  }

  /** Whoever was about to write to the file when it was rotated away has done so soon, or goes after it. */
  async #lookAtLeft(): Promise<void> {
    const nowMs = performance.now();
    const keptFrom = this.#left.length - auditLeftFilesMax;
    const left = this.#left;
    this.#left = left.filter(({ untilMs }, index) => index >= keptFrom && untilMs > nowMs);
    for (const one of left) {
      const { file } = one.log;
      await this.#lookAt(one.log);
      // Nobody ends it any more.
      const torn = await settledTornEnd(file).catch(() => undefined);
      if (torn !== undefined && torn.hash !== one.tornHash) this.#noticeTorn([torn]);
      one.tornHash = torn?.hash;
      if (!this.#left.includes(one)) await file.close().catch(() => undefined);
    }
  }

  get #follows(): boolean {
    return this.#options.inCompany === true && this.#options.rotation === undefined;
  }

  /** Nobody has to tell it that the file was rotated away: a line is not to be in one that is soon removed. */
  async #goAfter(): Promise<void> {
    if (!this.#log.hasDisk || (await this.#atPath()) !== 'another') return;
    const next = await joinLog(this.#options, { log: this.#log, own: this.#ownLink() });
    if (next !== undefined) await this.#replace(next);
  }

  /** Which file is the one at the path now. */
  async #atPath(): Promise<'ours' | 'another' | 'none'> {
    const there = await stat(this.#options.path).catch(() => undefined);
    if (there === undefined) return 'none';
    const ours = await this.#log.file.stat();
    return there.ino === ours.ino && there.dev === ours.dev ? 'ours' : 'another';
  }

  async #reopenIfAsked(): Promise<void> {
    if (!this.#reopen) return;
    if (this.#follows) {
      this.#reopen = false;
      return this.#goAfter();
    }
    // Whoever has rotated it may have been killed before, or have meant something else by its signal.
    if (this.#log.hasDisk && (await this.#atPath()) === 'ours') {
      this.#reopen = false;
      return;
    }
    await this.#replace(await openLog(this.#options, this.#previous()));
    this.#reopen = false;
  }

  async #rotateIfDue(): Promise<void> {
    const { rotation } = this.#options;
    if (rotation === undefined || !isDue(rotation, this.#log, this.#rest.length)) return;
    const nowMs = rotation.clock.monotonicMs();
    if (nowMs < this.#rotateNotBeforeMs) return;
    try {
      const path = await realpath(this.#options.path);
      const to = await freePath(path, this.#log);
      await rename(path, to);
      // The file goes on as it was when the next one cannot begin.
      const next = await openLog(this.#options, this.#previous()).catch(async (error) => {
        await rename(to, path);
        throw error;
      });
      await this.#replace(next);
      rotation.onRotated(to, undefined);
      if (rotation.keep !== undefined) await removeOldest(path, rotation.keep);
    } catch (error) {
      this.#rotateNotBeforeMs = nowMs + auditRotateRetryMs;
      rotation.onRotated(this.#options.path, error);
    }
  }

  #previous(): Previous {
    return { log: this.#log, own: this.#ownLink() };
  }

  /** The line before the first one that is still to be written. */
  #ownLink(): Link | undefined {
    const first =
      this.#rest.length === 0 ? undefined : placeIn(this.#rest.subarray(0, this.#rest.indexOf(lineEnd)));
    if (first !== undefined)
      return first.seq === 1 ? undefined : { chain: first.chain, seq: first.seq - 1, hash: first.prev };
    const last = placeIn(this.#lastLine);
    return last && { chain: last.chain, seq: last.seq, hash: hashOf(this.#lastLine) };
  }

  async #replace(next: OpenLog): Promise<void> {
    const { file, hasDisk } = this.#log;
    const before = this.#log;
    this.#log = next;
    this.#noticeTorn(next.torn);
    this.#notice(next.links);
    // It may hold lines that nobody waited for, and nobody will come back to them.
    if (hasDisk) await file.datasync().catch(() => undefined);
    if (hasDisk && this.#options.inCompany === true)
      this.#left.push({ log: before, untilMs: performance.now() + auditLeftMs, tornHash: undefined });
    else await file.close();
  }

  #setUp(up: boolean, error: unknown): void {
    if (up === this.#up) return;
    this.#up = up;
    this.#options.onUp(up, error);
  }
}

const lineEnd = 10;

interface OpenLog {
  readonly file: FileHandle;
  /** A pipe or a terminal has no disk to wait for, and is no file to rotate. */
  readonly hasDisk: boolean;
  readonly number: FileNumber | undefined;
  /** Wall time. */
  readonly begunMs: number;
  torn: readonly TornLine[];
  links: readonly PlacedLink[];
  readonly headerBytes: number;
  /** Up to where it was looked at for others' lines. */
  lookedBytes: number;
  /** Of ours, since then. */
  ownBytes: number;
  /** In company: where the first line begins that was not looked at, and the last lines of the chains seen until then. */
  scannedBytes: number;
  known: readonly PlacedLink[];
  endsTorn: boolean;
}

interface Left {
  readonly log: OpenLog;
  readonly untilMs: number;
  /** Of the line without an end that was found at its end, and told of. */
  tornHash: string | undefined;
}

/** The file that this process wrote to until now, and where its own chain stood at the end of it. */
interface Previous {
  readonly log: OpenLog;
  readonly own: Link | undefined;
}

async function openLog(options: FileSinkOptions, previous: Previous | undefined): Promise<OpenLog> {
  const { O_APPEND, O_CREAT, O_RDWR } = constants;
  const file = await open(options.path, O_APPEND | O_CREAT | O_RDWR, 0o600);
  try {
    const isFollower = options.inCompany === true && options.rotation === undefined;
    const stats = isFollower ? await begunStats(file) : await file.stat();
    if (!stats.isFile()) return { ...emptyLog(file), hasDisk: false };
    const log = stats.size === 0 ? emptyLog(file) : await continueFile(file, stats.birthtimeMs);
    if (stats.size > 0 && previous === undefined) await lookAtLast(options.path, log, stats.mtimeMs);
    // Somebody was quicker: whoever reads from here must know where our chain stands.
    if (previous !== undefined && log.number !== undefined) return await withJoined(log, options, previous);
    const begins = stats.size === 0 || previous !== undefined;
    return begins && options.header !== undefined
      ? await withHeader(log, options.path, options.header, previous)
      : log;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** One that follows opens what the leader is just beginning: an empty file is given a while to get its header. */
async function begunStats(file: FileHandle): Promise<Stats> {
  let stats = await file.stat();
  for (let tries = 0; tries < 100 && stats.isFile() && stats.size === 0; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    stats = await file.stat();
  }
  return stats;
}

/** The file that another process has begun, once its header is there. */
async function joinLog(options: FileSinkOptions, previous: Previous): Promise<OpenLog | undefined> {
  const { O_APPEND, O_RDWR } = constants;
  const file = await open(options.path, O_APPEND | O_RDWR);
  try {
    const { size, birthtimeMs } = await file.stat();
    const header = await headerIn(file);
    if (header !== undefined && (await tornEndOf(file, size)) === undefined)
      return await withJoined(await continueFile(file, birthtimeMs), options, previous);
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}

function emptyLog(file: FileHandle): OpenLog {
  const bytes = { headerBytes: 0, lookedBytes: 0, ownBytes: 0, scannedBytes: 0, endsTorn: false, known: [] };
  return { file, hasDisk: true, number: undefined, begunMs: Date.now(), torn: [], links: [], ...bytes };
}

async function continueFile(file: FileHandle, birthtimeMs: number): Promise<OpenLog> {
  const size = await settledSize(file);
  const torn = await tornEndOf(file, size);
  if (torn !== undefined) await writeWhole(file, '\n', size);
  const header = await headerIn(file);
  const found = await foundAtEnd(file, size);
  const links = placed(found.links, header);
  return {
    ...emptyLog(file),
    number: header,
    begunMs: header?.begunMs ?? birthtimeMs,
    lookedBytes: size + (torn === undefined ? 0 : 1),
    scannedBytes: size,
    torn: torn === undefined ? found.torn : [...found.torn, torn],
    links,
    known: links,
  };
}

/**
 * Also what stands in files that had just been rotated away when everybody was killed: whoever wrote there last, behind
 * the header of the next one, had nobody left to vouch for it.
 * @param lastMs when the newest file was written to last
 */
async function lookAtLast(path: string, log: OpenLog, lastMs: number): Promise<void> {
  const files = await rotatedFiles(await realpath(path).catch(() => path));
  for (const name of files.slice(-auditLeftFilesMax).reverse()) {
    const file = await open(name, 'r').catch(() => undefined);
    // Whoever rotates them may just be removing the oldest.
    if (file === undefined) return;
    try {
      const { size, mtimeMs } = await file.stat();
      if (mtimeMs < lastMs - auditLookBackMs) return;
      const number = await headerIn(file);
      if (number === undefined || number.log !== log.number?.log) return;
      const end = await tornEndOf(file, size);
      const { links, torn } = await foundAtEnd(file, size);
      log.links = latest([...placed(links, number), ...log.links]);
      log.torn = [...torn, ...(end === undefined ? [] : [end]), ...log.torn];
    } finally {
      await file.close();
    }
  }
}

/** Whether the file has no line end at its end at this moment. */
function endsTornNow({ file, hasDisk }: OpenLog): boolean {
  if (!hasDisk) return false;
  const { size } = fstatSync(file.fd);
  const last = Buffer.alloc(1, lineEnd);
  if (size > 0) readSync(file.fd, last, 0, 1, size - 1);
  return last[0] !== lineEnd;
}

async function settledTornEnd(file: FileHandle): Promise<TornLine | undefined> {
  return tornEndOf(file, await settledSize(file));
}

/** A line without an end may be one that somebody writes at this moment. */
async function settledSize(file: FileHandle): Promise<number> {
  let { size } = await file.stat();
  for (let tries = 0; tries < 5 && (await tornEndOf(file, size)) !== undefined; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    const { size: now } = await file.stat();
    if (now === size) break;
    size = now;
  }
  return size;
}

async function withJoined(
  log: OpenLog,
  { joined }: FileSinkOptions,
  { log: left, own }: Previous,
): Promise<OpenLog> {
  const { number, file } = log;
  if (own === undefined || joined === undefined || number === undefined) return log;
  const links = placed([own], left.number?.log === number.log ? left.number : undefined);
  const line = `${endsTornNow(log) ? '\n' : ''}${joined({ ...number, links })}`;
  await writeWhole(file, line, log.lookedBytes);
  return { ...log, ownBytes: Buffer.byteLength(line) };
}

async function withHeader(
  log: OpenLog,
  path: string,
  header: (header: FileHeader) => string,
  previous: Previous | undefined,
): Promise<OpenLog> {
  const real = await realpath(path);
  const before = previous?.log.number;
  const number = before === undefined ? await nextNumber(real) : { ...before, file: before.file + 1 };
  const links = latest([...log.links, ...(await lastLinks(real, previous))]);
  const line = header({ ...number, links });
  await writeWhole(log.file, line, log.lookedBytes);
  await log.file.datasync();
  await syncDirectoryOf(real);
  const begunMs = headerOf(line)?.begunMs ?? log.begunMs;
  const lookedBytes = log.lookedBytes + Buffer.byteLength(line);
  const headerBytes = log.lookedBytes === 0 ? lookedBytes : 0;
  return { ...log, number, begunMs, links: [], lookedBytes, headerBytes };
}

/** All of it or nothing: half a header would stay for ever. @param size of the file before */
async function writeWhole(file: FileHandle, text: string, size: number): Promise<void> {
  const bytes = Buffer.from(text);
  try {
    const { bytesWritten } = await file.write(bytes);
    if (bytesWritten < bytes.length) throw diskFull();
  } catch (error) {
    // What another process has written behind it meanwhile is not to be lost with it.
    const { size: now } = await file.stat();
    if (now <= size + bytes.length) await file.truncate(size).catch(() => undefined);
    throw error;
  }
}

function diskFull(): Error {
  return Object.assign(new Error('ENOSPC: the disk is full'), { code: 'ENOSPC' });
}

/** Where the chains stood when the file before ended, whoever has written it. */
async function lastLinks(path: string, previous: Previous | undefined): Promise<PlacedLink[]> {
  const own = previous?.own === undefined ? [] : placed([previous.own], previous.log.number);
  if (previous?.log.hasDisk === true)
    return [...previous.log.known, ...(await allLinks(previous.log)), ...own];
  const newest = (await rotatedFiles(path)).at(-1);
  if (newest === undefined) return own;
  const file = await open(newest, 'r');
  try {
    const { links } = await foundAtEnd(file, (await file.stat()).size);
    return [...placed(links, await headerIn(file)), ...own];
  } finally {
    await file.close();
  }
}

async function allLinks({ file, number }: OpenLog): Promise<PlacedLink[]> {
  return placed(await linksIn(file, 0, (await file.stat()).size), number);
}

async function linksSince(log: OpenLog): Promise<Link[]> {
  if (!log.hasDisk) return [];
  const { size } = await log.file.stat();
  const from = log.lookedBytes;
  const isAllOurs = size === from + log.ownBytes;
  log.lookedBytes = size;
  log.ownBytes = 0;
  return isAllOurs ? [] : linksIn(log.file, from, size);
}

/** What has come into a file that others write to all the time, our own lines among it. */
async function allSince(log: OpenLog): Promise<Found | undefined> {
  if (!log.hasDisk) return undefined;
  const { size } = await log.file.stat();
  const found = await foundIn(log.file, log.scannedBytes, size);
  log.lookedBytes = size;
  log.ownBytes = 0;
  log.scannedBytes = found.end;
  log.known = latest([...log.known, ...placed(found.links, log.number)]).slice(-linksOfOneMax);
  return found;
}

/** One of each chain, the last, whichever file it was found in first; the chain that was told of last stands last. */
function latest(links: readonly PlacedLink[]): PlacedLink[] {
  const last = new Map<string, PlacedLink>();
  for (const link of links) {
    const other = last.get(link.chain);
    last.delete(link.chain);
    last.set(link.chain, other !== undefined && other.seq > link.seq ? other : link);
  }
  return [...last.values()];
}

function isDue({ bytesMax, ageMsMax, clock }: Rotation, log: OpenLog, bytesToCome: number): boolean {
  if (!log.hasDisk || bytesToCome === 0) return false;
  const bytes = log.lookedBytes + log.ownBytes;
  const isOld = ageMsMax !== undefined && clock.wallMs() - log.begunMs >= ageMsMax;
  // A file that holds nothing but its header has room for whatever comes.
  return bytes > log.headerBytes && (isOld || bytes + bytesToCome > bytesMax);
}

/** @returns where the file goes; one that is there already is never replaced */
async function freePath(path: string, { number }: OpenLog): Promise<string> {
  let { file } = number ?? (await nextNumber(path));
  while ((await stat(rotatedPath(path, file)).catch(() => undefined)) !== undefined) file += 1;
  return rotatedPath(path, file);
}

/** The name must survive a power cut too. */
async function syncDirectoryOf(path: string): Promise<void> {
  const directory = await open(dirname(path), 'r');
  await directory.sync().finally(() => directory.close());
}
