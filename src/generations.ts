/**
 * The configurations that requests are under: a request ends under the one it began with. What an older one holds is
 * closed when its last request is over, however long that takes.
 */
import type { Gateway } from './gateway.ts';

export interface Generation {
  readonly gateway: Gateway;
  /** Gives back what only requests of this configuration need. */
  close(): Promise<void>;
}

/** A configuration while a request is under it. */
export interface Turn {
  readonly gateway: Gateway;
  /** The request is over. Called once. */
  end(): void;
}

export class Generations {
  #current: Counted;
  #isClosed = false;
  readonly #onError: (error: unknown) => void;
  /** Those whose requests are not over yet. */
  readonly #leaving = new Set<Promise<void>>();

  /** @param onError told what an older configuration could not close; the requests of now have nothing to do with it */
  constructor(first: Generation, onError: (error: unknown) => void) {
    this.#onError = onError;
    this.#current = new Counted(first);
  }

  /** For what never becomes a request. */
  get current(): Gateway {
    return this.#current.gateway;
  }

  begin(): Turn {
    return this.#current.begin();
  }

  /** Every request that begins from here on is under `next`. Waits for nothing. */
  swap(next: Generation): void {
    const leaving = this.#isClosed ? new Counted(next) : this.#current;
    if (!this.#isClosed) this.#current = new Counted(next);
    const closed = leaving
      .retire()
      .catch(this.#onError)
      .finally(() => this.#leaving.delete(closed));
    this.#leaving.add(closed);
  }

  /** Once no request is under way any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#leaving, this.#current.retire()]);
  }
}

class Counted {
  readonly gateway: Gateway;
  readonly #generation: Generation;
  readonly #idle = Promise.withResolvers<void>();
  #requests = 0;
  #isRetired = false;

  constructor(generation: Generation) {
    this.gateway = generation.gateway;
    this.#generation = generation;
  }

  begin(): Turn {
    this.#requests += 1;
    return {
      gateway: this.gateway,
      end: () => {
        this.#requests -= 1;
        this.#look();
      },
    };
  }

  async retire(): Promise<void> {
    this.#isRetired = true;
    this.#look();
    await this.#idle.promise;
    await this.#generation.close();
  }

  #look(): void {
    if (this.#isRetired && this.#requests === 0) this.#idle.resolve();
  }
}
