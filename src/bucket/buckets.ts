/** Where units are taken from, whoever counts them. */
import type { RateClass, RateDecision } from '../exchange.ts';

export interface Buckets {
  /**
   * Takes `cost` units, all or none; answers at once where nobody else has to be asked. Never rejects.
   * @param partition who pays, within the class
   * @param cost whole units, from 1 to the class's capacity
   */
  take(rateClass: RateClass, partition: string, cost: number): RateDecision | Promise<RateDecision>;
}

/** Where failures are counted; asked before any work that costs, and so it answers at once. */
export interface FailureBuckets {
  take(rateClass: RateClass, partition: string, cost: number): RateDecision;
  /** What `take` would answer, taking nothing. */
  peek(rateClass: RateClass, partition: string, cost: number): RateDecision;
}

/** Buckets that something else takes the place of when they are empty. */
export interface LockoutBuckets {
  /** Takes a unit. Never rejects. @returns whether it was the last one; then the bucket is full again */
  exhaust(rateClass: RateClass, partition: string): boolean | Promise<boolean>;
  /** Makes a bucket full. */
  forget(rateClass: RateClass, partition: string): void;
}

/** A class's name has no line end (the configuration says so), so two pairs never make one key. */
export function bucketKey(rateClass: RateClass, partition: string): string {
  return `${rateClass.name}\n${partition}`;
}
