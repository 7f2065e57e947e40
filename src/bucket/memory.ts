/** Token buckets in this process's memory, bounded: the least recently used one is forgotten, which makes it full. */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import type { RateClass, RateDecision, RateSource } from '../exchange.ts';
import { bucketsMax } from '../limits.ts';
import { type BucketState, take } from './arithmetic.ts';
import { type Buckets, bucketKey, type FailureBuckets, type LockoutBuckets } from './buckets.ts';

export class MemoryBuckets implements Buckets, FailureBuckets, LockoutBuckets {
  readonly #clock: Clock;
  readonly #states: LRUCache<string, BucketState>;
  readonly #source: RateSource;

  /** @param source what its decisions say of themselves */
  constructor(clock: Clock, max: number = bucketsMax, source: RateSource = 'memory') {
    this.#clock = clock;
    this.#source = source;
    this.#states = new LRUCache({ maxSize: max, sizeCalculation: () => 1 });
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision {
    const key = bucketKey(rateClass, partition);
    const { decision, state } = take(rateClass, this.#states.get(key), cost, this.#nowUs(), this.#source);
    this.#states.set(key, state);
    return decision;
  }

  /** What `take` would answer, taking nothing. */
  peek(rateClass: RateClass, partition: string, cost: number): RateDecision {
    return take(rateClass, this.#states.peek(bucketKey(rateClass, partition)), cost, this.#nowUs()).decision;
  }

  /** Takes over what another one has counted, where that is more than what was counted here. */
  atLeast(rateClass: RateClass, partition: string, debtTicks: number): void {
    const key = bucketKey(rateClass, partition);
    const { state } = take(rateClass, this.#states.get(key), 0, this.#nowUs());
    this.#states.set(key, { ...state, debtTicks: Math.max(state.debtTicks, debtTicks) });
  }

  /** What is missing from a bucket now. */
  debtTicks(rateClass: RateClass, partition: string): number {
    const state = this.#states.peek(bucketKey(rateClass, partition));
    return take(rateClass, state, 0, this.#nowUs()).state.debtTicks;
  }

  exhaust(rateClass: RateClass, partition: string): boolean {
    if (this.take(rateClass, partition, 1).remaining > 0) return false;
    this.forget(rateClass, partition);
    return true;
  }

  forget(rateClass: RateClass, partition: string): void {
    this.#states.delete(bucketKey(rateClass, partition));
  }

  #nowUs(): number {
    return Math.floor(this.#clock.monotonicMs() * 1_000);
  }
}
