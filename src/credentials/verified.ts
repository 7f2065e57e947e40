/** Credentials that verified: neither the database nor a signature is asked again for one that was seen before. */
import { LRUCache } from 'lru-cache';
import type { Clock, MonotonicMs, WallMs } from '../clock.ts';
import type { Principal } from '../exchange.ts';
import { cachedCredentialCharsMax } from '../limits.ts';
import type { Credential, ReadCredential, Verified } from './credential.ts';

export interface VerifiedOptions {
  readonly clock: Clock;
  /** Credentials kept; the least recently used one goes first. */
  readonly entriesMax: number;
  /** How long after it was last proven what the database said is believed; see `proven`. */
  readonly stalenessMaxMs: number;
}

/** Whose the credentials are; all of a subject's are revoked by one flag. */
interface Holder {
  readonly subject: string;
  /** The user with whom it is revoked, where it is that user's key. */
  owner: string | undefined;
  revoked: boolean;
  /** How many entries point here; a holder goes with its last one. */
  entries: number;
}

interface Entry {
  readonly verified: Verified;
  /** Of credentials that the database vouches for. */
  readonly holder: Holder | undefined;
  /** Which word of the configuration on external issuers it is by. */
  readonly era: number;
}

/** A verification under way. */
interface Flight {
  /** Whose credentials were revoked since it began: what it finds of them may be of before. */
  readonly revoked: Set<string>;
  areAllRevoked: boolean;
}

type AuthType = Credential['authType'];

/**
 * Only what verified is kept, so that no flood of bad credentials drives a good one out. The credential itself is the
 * key: it is in memory anyway while its request is, and a digest would cost more than all the rest of a look-up.
 */
export class VerifiedCredentials {
  /** How often `find` has found, and has not. */
  readonly counts = { hit: 0, miss: 0, stale: 0 };
  readonly #clock: Clock;
  readonly #stalenessMaxMs: number;
  /** Apart by header: an API key may stand in either, a token may not, and who verified says so. */
  readonly #entries: Readonly<Record<AuthType, LRUCache<string, Entry>>>;
  readonly #holders = new Map<string, Holder>();
  /** What others may join. */
  readonly #underWay = new Map<string, Promise<Principal>>();
  readonly #flights = new Set<Flight>();
  #believedUntilMs = Number.NEGATIVE_INFINITY;
  #era = 0;

  constructor({ clock, entriesMax, stalenessMaxMs }: VerifiedOptions) {
    this.#clock = clock;
    this.#stalenessMaxMs = stalenessMaxMs;
    const cache = () =>
      new LRUCache<string, Entry>({
        max: entriesMax,
        maxSize: cachedCredentialCharsMax,
        sizeCalculation: (_, text) => text.length || 1,
        dispose: ({ holder }) => this.#leave(holder),
      });
    this.#entries = { Bearer: cache(), ApiKey: cache() };
  }

  /** Who this credential stands for, if that is known and nothing has ended it since. */
  find({ authType, text }: Credential): Principal | undefined {
    const entry = this.#entries[authType].get(text);
    if (entry === undefined) return this.#notFound('miss');
    const { verified, holder, era } = entry;
    if (holder === undefined && era !== this.#era) {
      this.#entries[authType].delete(text);
      return this.#notFound('miss');
    }
    if (holder?.revoked === true || this.#clock.wallMs() >= verified.endsAt || verified.holds?.() === false) {
      this.#entries[authType].delete(text);
      return this.#notFound('miss');
    }
    if (holder !== undefined && this.#clock.monotonicMs() >= this.#believedUntilMs) {
      return this.#notFound('stale');
    }
    this.counts.hit += 1;
    verified.used?.();
    return verified.principal;
  }

  /** Verifies and keeps it; of many who present the same credential at once, one does the work. */
  verify(credential: Credential, read: ReadCredential): Promise<Principal> {
    const name = `${credential.authType} ${credential.text}`;
    const underWay = this.#underWay.get(name);
    if (underWay !== undefined) return underWay;
    const verification = this.#verify(credential, read).finally(() => {
      if (this.#underWay.get(name) === verification) this.#underWay.delete(name);
    });
    this.#underWay.set(name, verification);
    return verification;
  }

  /**
   * What was known of these subjects, or of all, is known no more. Whoever asks from now on does not join a
   * verification that began before.
   */
  revoke(subjects: Iterable<string> | 'all'): void {
    // Whose they will be is not known before they end.
    this.#underWay.clear();
    const isAll = subjects === 'all';
    for (const flight of this.#flights) flight.areAllRevoked ||= isAll;
    const named = new Set(isAll ? [] : subjects);
    for (const { revoked } of this.#flights) for (const subject of named) revoked.add(subject);
    for (const [subject, holder] of this.#holders) {
      if (!isAll && !named.has(subject) && !named.has(holder.owner ?? subject)) continue;
      holder.revoked = true;
      this.#holders.delete(subject);
    }
  }

  /** What external issuers say means something else from now on. */
  forgetExternal(): void {
    this.#underWay.clear();
    this.#era += 1;
  }

  /** The database was read at `atMs`, and all that it said to be revoked by then has been handed to `revoke`. */
  proven(atMs: MonotonicMs): void {
    this.#believedUntilMs = Math.max(this.#believedUntilMs, atMs + this.#stalenessMaxMs);
  }

  async #verify(credential: Credential, read: ReadCredential): Promise<Principal> {
    const flight: Flight = { revoked: new Set(), areAllRevoked: false };
    this.#flights.add(flight);
    const era = this.#era;
    try {
      const verified = await read.verify();
      const { subject, owner = subject } = verified.principal;
      const isRevoked = flight.areAllRevoked || flight.revoked.has(subject) || flight.revoked.has(owner);
      if (!isRevoked) this.#keep(credential, verified, era);
      return verified.principal;
    } finally {
      this.#flights.delete(flight);
    }
  }

  #keep({ authType, text }: Credential, verified: Verified, era: number): void {
    if (verified.endsAt <= this.#clock.wallMs()) return;
    const { kind, subject, owner } = verified.principal;
    // Nothing is stored here of whom an external issuer vouches for.
    const holder = kind === 'external' ? undefined : this.#holderOf(subject, owner);
    if (holder !== undefined) holder.entries += 1;
    this.#entries[authType].set(text, { verified, holder, era });
  }

  #holderOf(subject: string, owner: string | undefined): Holder {
    const known = this.#holders.get(subject);
    if (known !== undefined) {
      known.owner = owner;
      return known;
    }
    const holder: Holder = { subject, owner, revoked: false, entries: 0 };
    this.#holders.set(subject, holder);
    return holder;
  }

  #leave(holder: Holder | undefined): void {
    if (holder === undefined) return;
    holder.entries -= 1;
    if (holder.entries === 0 && this.#holders.get(holder.subject) === holder) {
      this.#holders.delete(holder.subject);
    }
  }

  #notFound(why: 'miss' | 'stale'): undefined {
    this.counts[why] += 1;
    return undefined;
  }
}

/** A credential that has no end of its own. */
export const never = Number.POSITIVE_INFINITY as WallMs;
