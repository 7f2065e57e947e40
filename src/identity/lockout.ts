/**
 * What wrong passwords do to a username, whether a user has it or not, so that no answer tells which.
 *
 * Failures of one name from one address empty a bucket; then that address is locked out of that name, each time
 * twice as long. Nobody else is: whoever guesses cannot lock out the user, who sits at another address. Failures of
 * one name from all addresses together empty another; then an address that this user has not logged in from waits
 * once, for a fixed time, before it may try, however many others try as well. An address the user has logged in
 * from never waits for others.
 *
 * Failures are counted in memory, by each gateway for itself. Locks are in the database: every replica holds to
 * them, and an admin sees and lifts them.
 */
import { LRUCache } from 'lru-cache';
import type { LockoutBuckets } from '../bucket/buckets.ts';
import type { Clock, MonotonicMs, WallMs } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { type Incident, Refusal } from '../errors.ts';
import type { RateClass } from '../exchange.ts';
import { addressPartition } from '../http/client-address.ts';
import { lockForgottenMs, waitedMs, waitingAddressesMax } from '../limits.ts';
import type { IdentityDatabase } from './database.ts';
import {
  deleteLock,
  isLoginAddress,
  nameDigest,
  rememberAddress,
  selectLocks,
  upsertLock,
} from './lock-rows.ts';
import { timeOf, timeText } from './subject.ts';
import type { LoginLockRow } from './tables.ts';

/** The address in the place of which a name's lock stands that concerns all of them. */
const anyAddress = '';

/** Whoever has a /48 has 65,536 of the /64s that buckets go by, enough to push another's wait out of memory. */
function waitingGroup(address: string): string {
  return address.endsWith('::/64') ? `${address.split(':').slice(0, 3).join(':')}::/48` : address;
}

/** One try at a username's password. */
interface Attempt {
  readonly username: string;
  /** The username, digested. */
  readonly name: string;
  /** What buckets of the client's address are kept by. */
  readonly address: string;
}

export class Lockout {
  readonly #database: IdentityDatabase;
  readonly #clock: Clock;
  readonly #policy: Config['auth']['lockout'];
  readonly #oneAddress: RateClass;
  readonly #allAddresses: RateClass;
  readonly #buckets: LockoutBuckets;
  /** Since when an address waits for its first try at a name. */
  readonly #waitingSinceMs = new LRUCache<string, MonotonicMs>({
    maxSize: waitingAddressesMax,
    sizeCalculation: () => 1,
  });

  /** Names and addresses whose lock is on its way into the database: nobody slips in before it is there. */
  readonly #locking = new Set<string>();

  constructor(
    database: IdentityDatabase,
    clock: Clock,
    policy: Config['auth']['lockout'],
    buckets: LockoutBuckets,
  ) {
    this.#database = database;
    this.#clock = clock;
    this.#policy = policy;
    this.#oneAddress = { name: 'one_address', ...policy.one_address };
    this.#allAddresses = { name: 'all_addresses', ...policy.all_addresses };
    this.#buckets = buckets;
  }

  /** @param clientAddress of the caller, normalized */
  attempt(username: string, clientAddress: string): Attempt {
    return { username, name: nameDigest(username), address: addressPartition(clientAddress) };
  }

  /**
   * Asked before a password is looked at.
   * @throws Refusal `too_many_failures` with reason `locked` or `new_address`, `store_unavailable`
   */
  async requireOpen({ username, name, address }: Attempt): Promise<void> {
    if (this.#locking.has(pairOf(name, address))) throw refused('locked', this.#policy.first);
    const now = this.#clock.wallMs();
    const inForce = (await this.#database.run((tables) => selectLocks(tables, name, address))).filter(
      (lock) => timeOf(lock.locked_until) > now,
    );
    const own = inForce.find((lock) => lock.address === address);
    if (own !== undefined) throw refused('locked', timeOf(own.locked_until) - now);
    if (inForce.length === 0) return;
    if (await this.#database.run((tables) => isLoginAddress(tables, username, address, now))) return;
    this.#requireWaited(pairOf(name, waitingGroup(address)));
  }

  /**
   * Counts a wrong password.
   * @returns what became of it, when it was one too many
   */
  async failed({ name, address }: Attempt): Promise<Incident | undefined> {
    const pair = pairOf(name, address);
    const spread = this.#buckets.exhaust(this.#allAddresses, name);
    const locked = this.#buckets.exhaust(this.#oneAddress, pair);
    const isSpread = spread instanceof Promise ? await spread : spread;
    const isLocked = locked instanceof Promise ? await locked : locked;
    if (isLocked) this.#locking.add(pair);
    try {
      if (isSpread) await this.#lock(name, anyAddress);
      if (isLocked) await this.#lock(name, address);
    } finally {
      if (isLocked) this.#locking.delete(pair);
    }
    if (isSpread) return 'login_spread';
    return isLocked ? 'login_locked' : undefined;
  }

  /** A right password clears what was counted against this name at this address, and makes the address known. */
  async succeeded({ name, address }: Attempt, userId: string): Promise<void> {
    this.#buckets.forget(this.#oneAddress, pairOf(name, address));
    const now = this.#clock.wallMs();
    await this.#database.run(async (tables) => {
      await deleteLock(tables, name, address);
      await rememberAddress(tables, userId, address, now);
    });
  }

  /** Each address waits for itself, so that no number of others makes it wait longer. */
  #requireWaited(pair: string): void {
    const nowMs = this.#clock.monotonicMs();
    const { new_address_wait: waitMs } = this.#policy;
    const sinceMs = this.#waitingSinceMs.get(pair);
    const hasBegun = sinceMs !== undefined && nowMs - sinceMs < waitMs + waitedMs;
    if (!hasBegun) this.#waitingSinceMs.set(pair, nowMs);
    const restMs = waitMs - (hasBegun ? nowMs - sinceMs : 0);
    if (restMs > 0) throw refused('new_address', restMs);
  }

  async #lock(name: string, address: string): Promise<void> {
    const now = this.#clock.wallMs();
    await this.#database.run(async (tables) => {
      const locks = await selectLocks(tables, name, address);
      const before = locks.find((lock) => lock.address === address);
      const level = levelAfter(before, now);
      const locked_until = timeText((now + this.#lockMs(level)) as WallMs);
      await upsertLock(tables, { name_digest: name, address, level, locked_until }, now);
    });
  }

  #lockMs(level: number): number {
    return Math.min(this.#policy.first * 2 ** (level - 1), this.#policy.longest);
  }
}

/** No lock takes longer than this many doublings of a millisecond. */
const levelMax = 32;

function levelAfter(before: LoginLockRow | undefined, now: WallMs): number {
  const isRecent = before !== undefined && timeOf(before.locked_until) + lockForgottenMs > now;
  return isRecent ? Math.min(before.level + 1, levelMax) : 1;
}

/** A digest has no line end. */
function pairOf(name: string, address: string): string {
  return `${name}\n${address}`;
}

/** One answer for both, and the one an address that failed too often gets. */
function refused(reason: 'locked' | 'new_address', restMs: number): Refusal {
  return new Refusal('too_many_failures', {
    reason,
    retryAfterSeconds: Math.max(1, Math.ceil(restMs / 1000)),
  });
}
