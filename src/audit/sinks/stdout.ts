/**
 * Standard output as a sink. Where no file is configured it carries the durability, which then means: handed to the
 * kernel. A reader that takes nothing for `stdoutStallMs` is as good as dead, and one that has gone does not come back.
 */
import { fstatSync, write as writeFile, writeSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { auditBufferBytesMax, stdoutStallMs } from '../../limits.ts';
import { AuditBufferError, type Seen } from '../file-sink.ts';
import type { Receiver } from './delivery.ts';
import type { Primary } from './outlet.ts';

const stdoutFd = 1;

/** Hands text to the kernel, without ever waiting for the other side in this thread. */
export type WriteOut = (text: string) => Promise<void>;

/**
 * @param stream standard output; node:stream keeps what a slow pipe does not take yet
 * @throws what writing throws; EPIPE where the reader has gone
 */
export function writerTo(stream: Writable): WriteOut {
  // An error of a stream that nobody listens to would end the process.
  stream.on('error', () => undefined);
  // Node writes to a file behind standard output in this thread, and a disk may be slow.
  if (isRegularFile(stream)) return writeToFile;
  return (text) =>
    new Promise((resolve, reject) => {
      stream.write(text, (error) => (error ? reject(error) : resolve()));
    });
}

function isRegularFile(stream: Writable): boolean {
  return 'fd' in stream && stream.fd === stdoutFd && fstatSync(stdoutFd).isFile();
}

async function writeToFile(text: string): Promise<void> {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    const written = await new Promise<number>((resolve, reject) => {
      writeFile(stdoutFd, rest, 0, rest.length, null, (error, bytes) =>
        error ? reject(error) : resolve(bytes),
      );
    });
    rest = rest.subarray(written);
  }
}

/** Standard output beside a file. */
export class StdoutReceiver implements Receiver {
  readonly #write: WriteOut;

  constructor(write: WriteOut) {
    this.#write = write;
  }

  /** What a stalled pipe has been given stays given: the batch is waited for, never written twice. */
  async send(lines: readonly string[], signal: AbortSignal): Promise<void> {
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    // The signal outlives the batch by far.
    const forget = () => signal.removeEventListener('abort', onAbort);
    await Promise.race([this.#write(lines.join('')), aborted]).finally(forget);
  }

  async close(): Promise<void> {}
}

interface Waiter {
  resolve(): void;
  reject(error: unknown): void;
}

export interface StdoutPrimaryOptions {
  readonly write: WriteOut;
  /** Called when standard output stops or starts taking lines. */
  onUp(up: boolean, error: unknown): void;
}

/** Standard output in place of a file. */
export class StdoutPrimary implements Primary {
  readonly name = 'stdout';
  readonly #options: StdoutPrimaryOptions;
  #lines: string[] = [];
  #waiters: Waiter[] = [];
  /** Not taken by the kernel yet, a batch under way included. */
  #bytes = 0;
  #running: Promise<void> | undefined;
  #up = true;
  #broken: unknown;
  #closed = false;

  constructor(options: StdoutPrimaryOptions) {
    this.#options = options;
  }

  get up(): boolean {
    return this.#up;
  }

  hasRoomFor(line: string): boolean {
    if (this.#closed || this.#broken !== undefined) return false;
    return this.#bytes + Buffer.byteLength(line) <= auditBufferBytesMax;
  }

  /** Nobody else writes here, and nothing can be read back. */
  async look(): Promise<Seen> {
    return { links: [], torn: [] };
  }

  append(line: string): boolean {
    if (!this.hasRoomFor(line)) return false;
    this.#bytes += Buffer.byteLength(line);
    this.#lines.push(line);
    void this.flush();
    return true;
  }

  async appendDurable(line: string): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    if (!this.append(line)) throw new AuditBufferError('the audit buffer takes no more');
    if (!this.#up) throw new StalledError('standard output takes nothing');
    await new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  flush(): Promise<void> {
    this.#running ??= this.#drain();
    return this.#running;
  }

  flushNow(): void {
    const text = this.#lines.join('');
    this.#lines = [];
    if (text !== '' && this.#broken === undefined) writeSync(stdoutFd, text);
  }

  /** There is nothing to open. */
  reopen(): void {}

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.race([this.flush(), pause(stdoutStallMs)]);
  }

  async #drain(): Promise<void> {
    // What comes in the same turn goes along.
    await null;
    while (this.#lines.length > 0 && this.#broken === undefined) await this.#writeBatch();
    this.#running = undefined;
  }

  async #writeBatch(): Promise<void> {
    const text = this.#lines.join('');
    const waiters = this.#waiters;
    this.#lines = [];
    this.#waiters = [];
    const stall = setTimeout(() => this.#stalled(waiters.splice(0)), stdoutStallMs);
    try {
      await this.#options.write(text);
      this.#bytes -= Buffer.byteLength(text);
      this.#setUp(true, undefined);
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      this.#broken = error;
      this.#setUp(false, error);
      for (const waiter of [...waiters, ...this.#waiters.splice(0)]) waiter.reject(error);
    } finally {
      clearTimeout(stall);
    }
  }

  /** The batch is still on its way and may yet arrive; nobody waits for it any longer. */
  #stalled(waiters: readonly Waiter[]): void {
    const error = new StalledError('standard output takes nothing');
    this.#setUp(false, error);
    for (const waiter of [...waiters, ...this.#waiters.splice(0)]) waiter.reject(error);
  }

  #setUp(up: boolean, error: unknown): void {
    if (up === this.#up) return;
    this.#up = up;
    this.#options.onUp(up, error);
  }
}

/** Nobody reads at the other end of the pipe. */
class StalledError extends Error {}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
