/**
 * The bucket that failed credentials take from, by client address: a flood of guesses is refused before it costs
 * a password hash or a look-up, and nothing else is refused with it. It is in this replica's memory, with Redis too:
 * what it protects is this replica's own work, and a guess must not cost a round trip. Its workers count together.
 */

import { Refusal } from '../errors.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { addressPartition } from '../http/client-address.ts';
import type { FailureBuckets } from './buckets.ts';

export class Failures {
  readonly #buckets: FailureBuckets;
  readonly #rateClass: RateClass;

  constructor(buckets: FailureBuckets, rateClass: RateClass) {
    this.#buckets = buckets;
    this.#rateClass = rateClass;
  }

  /** Throws `too_many_failures` when this address has used up its failures. Asked before any work that costs. */
  check(address: string): void {
    const { admitted, retryInMs } = this.#look(address);
    if (admitted) return;
    const retryAfterSeconds = Math.ceil(retryInMs / 1000);
    throw new Refusal('too_many_failures', { reason: 'too_many_failures', retryAfterSeconds });
  }

  /** What `check` would refuse. */
  isUsedUp(address: string): boolean {
    return !this.#look(address).admitted;
  }

  /** Takes one unit. Called after a credential failed. */
  record(address: string): void {
    this.#buckets.take(this.#rateClass, addressPartition(address), 1);
  }

  #look(address: string): RateDecision {
    return this.#buckets.peek(this.#rateClass, addressPartition(address), 1);
  }
}
