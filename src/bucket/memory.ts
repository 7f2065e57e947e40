/** Token buckets in this process's memory, bounded: the least recently used one is forgotten, which makes it full. */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { bucketsMax } from '../limits.ts';
import { type BucketState, take } from './arithmetic.ts';

/** Where units are taken from. */
export interface Buckets {
  /**
   * Takes `cost` units, all or none.
   * @param partition who pays, within the class
   * @param cost whole units, from 1 to the class's capacity
   */
  take(rateClass: RateClass, partition: string, cost: number): RateDecision;
  /** What `take` would answer, taking nothing. */
  peek(rateClass: RateClass, partition: string, cost: number): RateDecision;
}

export class MemoryBuckets implements Buckets {
  readonly #clock: Clock;
  readonly #states: LRUCache<string, BucketState>;

  constructor(clock: Clock, max: number = bucketsMax) {
    this.#clock = clock;
    this.#states = new LRUCache({ max });
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision {
    const key = keyOf(rateClass, partition);
    const { decision, state } = take(rateClass, this.#states.get(key), cost, this.#nowUs());
    this.#states.set(key, state);
    return decision;
  }

  peek(rateClass: RateClass, partition: string, cost: number): RateDecision {
    return take(rateClass, this.#states.peek(keyOf(rateClass, partition)), cost, this.#nowUs()).decision;
  }

  /** Makes a bucket full. */
  forget(rateClass: RateClass, partition: string): void {
    this.#states.delete(keyOf(rateClass, partition));
  }

  #nowUs(): number {
    return Math.floor(this.#clock.monotonicMs() * 1_000);
  }
}

/** A class's name has no line end (the configuration says so), so two pairs never make one key. */
function keyOf(rateClass: RateClass, partition: string): string {
  return `${rateClass.name}\n${partition}`;
}
