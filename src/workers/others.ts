/** A worker's word to the others: what was revoked here is to be dead there before anybody is told that it is. */
import { workerAnswerMs } from '../limits.ts';
import type { Send } from './owned-buckets.ts';

export class Others {
  readonly #send: Send;
  readonly #asked = new Map<number, () => void>();
  #questions = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Resolves when the others have looked. One that does not answer looks by itself all the same, and is not waited for. */
  async catchUp(): Promise<void> {
    this.#questions += 1;
    const id = this.#questions;
    const { promise, resolve } = Promise.withResolvers<void>();
    const patience = setTimeout(resolve, workerAnswerMs);
    this.#asked.set(id, resolve);
    this.#send({ kind: 'changed', id });
    await promise;
    clearTimeout(patience);
    this.#asked.delete(id);
  }

  caughtUp(id: number): void {
    this.#asked.get(id)?.();
  }
}
