/**
 * The gateway's public keys: fetched in the background, never more than once for a flood of unknown ones, and the
 * last good set kept for as long as the gateway is away.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Logger } from 'pino';
import {
  keyCooldownMs,
  keyRefreshMs,
  keyRetryMaxMs,
  keyRetryMinMs,
  keysMax,
  keyWaitersMax,
  keyWaitMs,
} from './limits.ts';

/** Gives the text of a JWK Set (RFC 7517); rejects with an error whose message says why not. */
export type KeySource = () => Promise<string>;

export class GatewayKeys {
  readonly #source: KeySource;
  readonly #log: Logger;
  readonly #monotonicMs: () => number;
  #keys: ReadonlyMap<string, KeyObject> = new Map();
  #fetching: Promise<void> | undefined;
  #failures = 0;
  #next: NodeJS.Timeout | undefined;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #waiters = 0;
  #closed = false;

  /** @param monotonicMs for the cool-down; the process's own clock unless given */
  constructor(source: KeySource, log: Logger, monotonicMs: () => number = () => performance.now()) {
    this.#source = source;
    this.#log = log;
    this.#monotonicMs = monotonicMs;
  }

  /** Whether there has ever been a good set. */
  get known(): boolean {
    return this.#keys.size > 0;
  }

  /** Fetches now, or joins the fetch under way; the next one is due by itself. Never rejects. */
  refresh(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  /** The key of this `kid`. The gateway may have a new one, and is asked for it, though seldom. */
  async find(kid: string): Promise<KeyObject | undefined> {
    const key = this.#keys.get(kid);
    if (key !== undefined) return key;
    await this.#ask();
    return this.#keys.get(kid);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#next);
  }

  /** Whether there has ever been a good set, once the fetch under way has ended or takes too long. */
  async arrived(): Promise<boolean> {
    if (!this.known && this.#fetching !== undefined) await this.#waitFor(this.#fetching);
    return this.known;
  }

  /** One fetch in the cool-down, whoever asks; who comes while it is under way waits for it. */
  async #ask(): Promise<void> {
    if (this.#fetching === undefined) {
      const nowMs = this.#monotonicMs();
      if (nowMs - this.#askedAtMs < keyCooldownMs) return;
      this.#askedAtMs = nowMs;
    }
    await this.#waitFor(this.refresh());
  }

  /** Within bounds of time and number. */
  async #waitFor(fetching: Promise<void>): Promise<void> {
    if (this.#waiters >= keyWaitersMax) return;
    this.#waiters += 1;
    const { promise: waited, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, keyWaitMs);
    try {
      await Promise.race([fetching, waited]);
    } finally {
      clearTimeout(timer);
      this.#waiters -= 1;
    }
  }

  async #fetch(): Promise<void> {
    clearTimeout(this.#next);
    try {
      const keys = readKeys(await this.#source());
      if (this.#failures > 0) this.#log.info({ keys: keys.size }, 'the gateway’s keys are here');
      this.#keys = keys;
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      // Once an outage, not once an attempt.
      if (this.#failures === 1) {
        const why = error instanceof Error ? error.message : String(error);
        const goesOn = this.known ? 'those from before are kept' : 'requests are 503 until they are';
        this.#log.warn(`the gateway’s keys are not to be had, ${goesOn}: ${why}`);
      }
    } finally {
      if (!this.#closed) this.#next = setTimeout(() => void this.refresh(), this.#delayMs()).unref();
    }
  }

  /** Jittered, so that registries that started together do not ask together. */
  #delayMs(): number {
    if (this.#failures === 0) return keyRefreshMs * (0.9 + 0.2 * Math.random());
    const backOffMs = Math.min(keyRetryMinMs * 2 ** (this.#failures - 1), keyRetryMaxMs);
    return backOffMs * (0.5 + 0.5 * Math.random());
  }
}

/**
 * The Ed25519 keys of a set, by `kid`; keys of other kinds are the gateway's for something else.
 * @throws Error for what is no set, or a set without such a key
 */
export function readKeys(text: string): ReadonlyMap<string, KeyObject> {
  const keys = new Map<string, KeyObject>();
  for (const entry of entriesOf(text)) {
    const { kty, crv, x, kid, alg = 'EdDSA', use = 'sig' } = entry ?? {};
    if (kty !== 'OKP' || crv !== 'Ed25519' || alg !== 'EdDSA' || use !== 'sig') continue;
    if (typeof kid === 'string' && typeof x === 'string') keys.set(kid, publicKey(x));
  }
  if (keys.size === 0) throw new Error('the JWK Set has no Ed25519 key with a kid');
  return keys;
}

function entriesOf(text: string): ReadonlyArray<Record<string, unknown> | null> {
  let set: unknown;
  try {
    set = JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
  const keys = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined;
  if (!Array.isArray(keys)) throw new Error('it is no JWK Set: it has no list of keys');
  if (keys.length > keysMax) throw new Error(`the JWK Set has more than ${keysMax} keys`);
  return keys;
}

function publicKey(x: string): KeyObject {
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch {
    throw new Error('a key of the JWK Set is damaged');
  }
}
