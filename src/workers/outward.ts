/** A worker's way to standard output: over the primary, which alone writes there, whole batches, one after another. */
import { Writable } from 'node:stream';
import type { Send } from './owned-buckets.ts';

export class OutwardStream extends Writable {
  readonly #send: Send;
  readonly #waiting = new Map<number, (error?: Error | null) => void>();
  #writes = 0;

  constructor(send: Send) {
    super({ decodeStrings: false });
    this.#send = send;
  }

  override _write(chunk: string | Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writes += 1;
    this.#waiting.set(this.#writes, done);
    this.#send({ kind: 'write', id: this.#writes, text: chunk.toString() });
  }

  /** The kernel has taken it from the primary, or has not. */
  written(id: number, error: string | undefined): void {
    const done = this.#waiting.get(id);
    this.#waiting.delete(id);
    done?.(error === undefined ? null : new Error(error));
  }
}
