/** What is done for a worker outside of it: all that must be one for all workers. */
import type { Buckets, FailureBuckets, LockoutBuckets } from '../bucket/buckets.ts';

export interface Seat {
  /** Where requests are counted without a Redis. */
  readonly buckets: Buckets;
  /** Where failed credentials are counted. */
  readonly failures: FailureBuckets;
  /** Where wrong passwords are counted. */
  readonly lockout: LockoutBuckets;
  /** Resolves when the other workers no longer believe what is revoked by now, or after a bounded wait; never rejects. */
  readonly catchUpOthers: () => Promise<void>;
  /** Of all workers one makes the audit file give way to the next one. */
  readonly leads: boolean;
}
