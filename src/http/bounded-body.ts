/** A request's body as a stream, cut off above a bound. Bodies are never rewritten. */
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Refusal } from '../errors.ts';
import { fillsItsMemory } from './hand-over.ts';

/** @param bytesMax what would have been taken */
export function tooLarge(bytesMax: number): Refusal {
  return new Refusal('body_too_large', {
    detail: `The body is larger than the ${bytesMax} bytes this route takes.`,
  });
}

/** Chunks that are remembered while the reader has room all the time; it is left to the collector then. */
const passedOnMax = 64;

/**
 * The chunks as they come, handed on as they are: of a stream it has what undici asks of one, and nothing more, since
 * another buffer and a promise for each chunk cost as much as all else that is done with it. The request is listened to
 * from the first `resume` on. What ends it early leaves the socket alone, so that an answer can still be sent.
 *
 * Emits `data`, and then `end` or `error`: `body_too_large` at the first chunk above the bound, `client_closed` when
 * the rest will not come.
 */
export class BoundedBody extends EventEmitter<{ data: [Buffer]; end: []; error: [Error]; close: [] }> {
  readonly #request: IncomingMessage;
  readonly #bytesMax: number;
  readonly #isPassedOn: boolean;
  #bytes = 0;
  #isAttached = false;
  #isPaused = false;
  /** What the reader was given since it last had no room. */
  #given: Buffer<ArrayBuffer>[] = [];
  /** Whether nothing more is emitted. */
  destroyed = false;

  /**
   * @param isPassedOn whether the reader writes the chunks to a socket and resumes after a pause once the kernel has
   *   all of them, as undici does: their memory is then given back at once. V8 would collect the whole heap for every
   *   64 MiB that pass, which costs more than to pass them.
   */
  constructor(request: IncomingMessage, bytesMax: number, isPassedOn: boolean) {
    super();
    this.#request = request;
    this.#bytesMax = bytesMax;
    this.#isPassedOn = isPassedOn;
  }

  pause(): void {
    this.#isPaused = true;
    if (this.#isAttached) this.#request.pause();
  }

  resume(): void {
    if (this.#isPaused) this.#release();
    this.#isPaused = false;
    if (this.destroyed) return;
    this.#attach();
    this.#request.resume();
  }

  /** By whoever reads it: no more of it is wanted. */
  destroy(error?: Error): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#detach();
    if (error !== undefined) this.emit('error', error);
  }

  /** What undici knows a stream by; it reads by events. */
  pipe(): never {
    throw new TypeError('a body is read by its events');
  }

  #attach(): void {
    if (this.#isAttached) return;
    this.#isAttached = true;
    const request = this.#request;
    request
      .on('data', this.#onData)
      .on('end', this.#onEnd)
      .on('error', this.#onLost)
      .on('close', this.#onLost);
    // It will say so no more.
    if (request.destroyed) queueMicrotask(this.#onLost);
  }

  #detach(): void {
    if (!this.#isAttached) return;
    const request = this.#request;
    request.pause();
    request
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('error', this.#onLost)
      .off('close', this.#onLost);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes += chunk.length;
    if (this.#bytes > this.#bytesMax) {
      this.destroy(tooLarge(this.#bytesMax));
      return;
    }
    if (this.#isPassedOn && fillsItsMemory(chunk)) {
      if (this.#given.length === passedOnMax) this.#given = [];
      this.#given.push(chunk);
    }
    this.emit('data', chunk);
  };

  #release(): void {
    for (const chunk of this.#given) chunk.buffer.transfer(0);
    this.#given = [];
  }

  readonly #onEnd = (): void => {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#detach();
    this.emit('end');
  };

  readonly #onLost = (cause?: unknown): void => {
    this.destroy(new Refusal('client_closed', { cause }));
  };
}
