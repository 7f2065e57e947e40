/** The one process that counts for all workers, where no Redis does: what it is asked it answers at once, in order. */
import { MemoryBuckets } from '../bucket/memory.ts';
import type { Clock } from '../clock.ts';
import { bucketsMax, lockoutBucketsMax } from '../limits.ts';
import { type BucketClass, rateClassFrom, type TakeAnswer, type TakeItem } from './messages.ts';

export class BucketOwner {
  readonly #requests: MemoryBuckets;
  readonly #failures: MemoryBuckets;
  readonly #lockout: MemoryBuckets;

  constructor(clock: Clock) {
    this.#requests = new MemoryBuckets(clock, bucketsMax);
    this.#failures = new MemoryBuckets(clock, bucketsMax);
    this.#lockout = new MemoryBuckets(clock, lockoutBucketsMax);
  }

  take(items: readonly TakeItem[]): TakeAnswer[] {
    return items.map(([bucketClass, partition, cost]) => {
      const decision = this.#requests.take(rateClassFrom(bucketClass), partition, cost);
      return [decision.admitted, decision.remaining, decision.fullInMs, decision.retryInMs];
    });
  }

  /** A credential has failed. @returns what is missing from the bucket now, in ticks */
  failed(bucketClass: BucketClass, partition: string): number {
    const rateClass = rateClassFrom(bucketClass);
    this.#failures.take(rateClass, partition, 1);
    return this.#failures.debtTicks(rateClass, partition);
  }

  exhaust(bucketClass: BucketClass, partition: string): boolean {
    return this.#lockout.exhaust(rateClassFrom(bucketClass), partition);
  }

  forget(bucketClass: BucketClass, partition: string): void {
    this.#lockout.forget(rateClassFrom(bucketClass), partition);
  }
}
