/**
 * The keys of one external issuer: fetched in the background, never by a request. The last good set is kept through
 * an outage, however long; what a failing issuer says in the meantime changes nothing.
 */
import type { Clock, MonotonicMs } from '../clock.ts';
import {
  keyCandidatesMax,
  keyFetchCooldownMs,
  keyRetryMaxMs,
  keyRetryMinMs,
  keyWaitersMax,
  keyWaitMs,
} from '../limits.ts';
import type { PublicKeyAlgorithm } from './jws.ts';
import { fetchFaults, KeyFetchError, type KeySource } from './key-fetch.ts';
import { type KeySet, KeySetError, parseKeySet, type VerificationKey } from './key-set.ts';

/** How a fetch ended; closed, for it is a metric's label. */
export const fetchResults = ['ok', ...fetchFaults, 'too_many_keys', 'no_usable_key', 'internal'] as const;
export type FetchResult = (typeof fetchResults)[number];

/** What there is to tell of a fetch. */
export interface FetchReport {
  readonly result: FetchResult;
  /** What went wrong, for the log. */
  readonly message: string | undefined;
  /** The keys now in use; after a failure those from before. */
  readonly keys: number;
  readonly leftOut: readonly string[];
}

/** Runs `work` once after a while, unless it is called off. */
export type Later = (delayMs: number, work: () => void) => { cancel(): void };

/** By the system's timers, which keep no process alive. */
const later: Later = (delayMs, work) => {
  const timer = setTimeout(work, delayMs).unref();
  return { cancel: () => clearTimeout(timer) };
};

export interface IssuerKeysDeps {
  readonly source: KeySource;
  /** Between two fetches that succeed, give or take a tenth. */
  readonly refreshMs: number;
  readonly clock: Clock;
  readonly onFetch: (report: FetchReport) => void;
  readonly later?: Later;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

export class IssuerKeys {
  readonly #deps: IssuerKeysDeps;
  readonly #later: Later;
  readonly #random: () => number;
  #keys: readonly VerificationKey[] = [];
  #failures = 0;
  #fetching: Promise<void> | undefined;
  #next: { cancel(): void } | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY as MonotonicMs;
  #waiters = 0;
  #closed = false;

  constructor(deps: IssuerKeysDeps) {
    this.#deps = deps;
    this.#later = deps.later ?? later;
    this.#random = deps.random ?? Math.random;
  }

  /** Whether there has ever been a good set. */
  get known(): boolean {
    return this.#keys.length > 0;
  }

  /** Another one whenever a set has been taken: what an earlier one has proven may not be so by this one. */
  get version(): object {
    return this.#keys;
  }

  /** Fetches now, or joins the fetch under way; afterwards the next one is due by itself. Never rejects. */
  refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  close(): void {
    this.#closed = true;
    this.#next?.cancel();
  }

  /** The keys that may have signed; a key without `kid` cannot be meant by a token that has one. */
  find(kid: string | undefined, algorithm: PublicKeyAlgorithm): readonly VerificationKey[] {
    return this.#keys
      .filter((key) => key.algorithms.includes(algorithm) && (kid === undefined || key.id === kid))
      .slice(0, keyCandidatesMax);
  }

  /** Like `find`; where that finds nothing the issuer may have new keys, and is asked, though seldom. */
  async findOrAsk(
    kid: string | undefined,
    algorithm: PublicKeyAlgorithm,
  ): Promise<readonly VerificationKey[]> {
    const found = this.find(kid, algorithm);
    if (found.length > 0 || !(await this.#ask())) return found;
    return this.find(kid, algorithm);
  }

  /**
   * One fetch for all unknown `kid`s within the cool-down; who comes while it is under way waits for it, within
   * bounds (attack 23).
   * @returns whether there may be new keys
   */
  async #ask(): Promise<boolean> {
    const nowMs = this.#deps.clock.monotonicMs();
    if (this.#fetching === undefined) {
      if (nowMs - this.#askedAtMs < keyFetchCooldownMs) return false;
      this.#askedAtMs = nowMs;
    }
    if (this.#waiters >= keyWaitersMax) return false;
    this.#waiters += 1;
    try {
      await within(keyWaitMs, this.refresh());
      return true;
    } finally {
      this.#waiters -= 1;
    }
  }

  async #fetch(): Promise<void> {
    this.#next?.cancel();
    try {
      const { keys, leftOut } = await this.#read();
      this.#keys = keys;
      this.#failures = 0;
      this.#report('ok', undefined, leftOut);
    } catch (error) {
      this.#failures += 1;
      const isKnown = error instanceof KeyFetchError || error instanceof KeySetError;
      // Whatever an issuer answers must not end the gateway: nobody waits for most fetches.
      if (isKnown) this.#report(error.fault, error.message, []);
      else this.#report('internal', `could not be read: ${String(error)}`, []);
    } finally {
      if (!this.#closed) this.#next = this.#later(this.#delayMs(), () => void this.refresh());
    }
  }

  async #read(): Promise<KeySet> {
    return parseKeySet(await this.#deps.source());
  }

  #report(result: FetchResult, message: string | undefined, leftOut: readonly string[]): void {
    this.#deps.onFetch({ result, message, keys: this.#keys.length, leftOut });
  }

  /** Jittered both ways, so that a hundred sidecars that started together do not ask together. */
  #delayMs(): number {
    const { refreshMs } = this.#deps;
    if (this.#failures === 0) return refreshMs * (0.9 + 0.2 * this.#random());
    const backOffMs = Math.min(keyRetryMinMs * 2 ** (this.#failures - 1), keyRetryMaxMs, refreshMs);
    return backOffMs * (0.5 + 0.5 * this.#random());
  }
}

/** Waits for `work`, but not longer than so; the work itself goes on. */
export async function within(timeMs: number, work: Promise<unknown>): Promise<void> {
  const timer = Promise.withResolvers<void>();
  const timeout = setTimeout(timer.resolve, timeMs);
  try {
    await Promise.race([work, timer.promise]);
  } finally {
    clearTimeout(timeout);
  }
}
