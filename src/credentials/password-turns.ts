/** Turns at work that costs memory and a core: so many at once, so many waiting, the rest refused at once. */
import { Refusal } from '../errors.ts';

export class Turns {
  readonly #atOnceMax: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(atOnceMax: number, waitingMax: number) {
    this.#atOnceMax = atOnceMax;
    this.#waitingMax = waitingMax;
  }

  /**
   * Runs `work` when its turn comes, first come, first served.
   * @throws Refusal `overloaded` when too many wait already
   */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnceMax) await this.#wait();
    else this.#running += 1;
    try {
      return await work();
    } finally {
      this.#pass();
    }
  }

  #wait(): Promise<void> {
    if (this.#waiting.length >= this.#waitingMax) throw new Refusal('overloaded', { retryAfterSeconds: 1 });
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** The turn goes straight to the next in line: were it freed first, a newcomer could take it. */
  #pass(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running -= 1;
    else next();
  }
}
