/** Who decides while Redis does not answer, as each class is configured. */
import type { Clock } from '../clock.ts';
import type { WhenRedisIsAway } from '../config/redis-schema.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { bucketsMax } from '../limits.ts';
import { fullTicks } from './arithmetic.ts';
import { MemoryBuckets } from './memory.ts';

export interface AwayOptions {
  readonly clock: Clock;
  /** Replicas that share the rates. */
  readonly replicas: number;
  /** By class; `local` for one that is not there. */
  readonly policies: ReadonlyMap<string, WhenRedisIsAway>;
}

/** After what a caller that nobody could count may try again. */
const retryMs = 1_000;

export class Away {
  readonly #replicas: number;
  readonly #policies: ReadonlyMap<string, WhenRedisIsAway>;
  readonly #shares: MemoryBuckets;
  readonly #shareOfOne = new WeakMap<RateClass, RateClass>();

  constructor({ clock, replicas, policies }: AwayOptions) {
    this.#replicas = replicas;
    this.#policies = policies;
    this.#shares = new MemoryBuckets(clock, bucketsMax, 'local');
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision {
    const policy = this.#policyOf(rateClass);
    if (policy === 'local') {
      const { admitted, remaining, fullInMs, retryInMs } = this.#shares.take(
        this.#shareOf(rateClass, cost),
        partition,
        cost,
      );
      return { rateClass, source: 'local', admitted, remaining, fullInMs, retryInMs };
    }
    const admitted = policy === 'open';
    return {
      rateClass,
      source: policy,
      admitted,
      remaining: 0,
      fullInMs: 0,
      retryInMs: admitted ? 0 : retryMs,
    };
  }

  /**
   * Told of every answer, so that an outage begins where Redis left off: this replica's share of what was left. What
   * was decided here Redis has not heard of, so that its answer gives none of that back: however often it goes away,
   * the share is one.
   * @param debtTicks what is missing from the bucket
   */
  follow(rateClass: RateClass, partition: string, debtTicks: number): void {
    if (this.#policyOf(rateClass) !== 'local') return;
    const share = this.#shareOf(rateClass, 1);
    const left = fullTicks(rateClass) - debtTicks;
    this.#shares.atLeast(share, partition, Math.max(0, fullTicks(share) - left));
  }

  #policyOf({ name }: RateClass): WhenRedisIsAway {
    return this.#policies.get(name) ?? 'local';
  }

  /** An equal part of the rate; of the capacity too, and enough for one request. */
  #shareOf(rateClass: RateClass, cost: number): RateClass {
    let share = this.#shareOfOne.get(rateClass);
    if (share === undefined) {
      const capacity = Math.max(1, Math.floor(rateClass.capacity / this.#replicas));
      // A share's unit is worth as many ticks more as there are replicas.
      share = { ...rateClass, capacity, refillPeriodUs: rateClass.refillPeriodUs * this.#replicas };
      this.#shareOfOne.set(rateClass, share);
    }
    return cost <= share.capacity ? share : { ...share, capacity: cost };
  }
}
