/**
 * A worker's side of the buckets that the primary owns. Requests of one turn of the event loop are asked for together,
 * and one that the primary does not answer in time is refused: it may have been counted, and must not pass uncounted.
 */
import type { Buckets, FailureBuckets, LockoutBuckets } from '../bucket/buckets.ts';
import { MemoryBuckets } from '../bucket/memory.ts';
import type { Clock } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { bucketOwnerDeadlineMs, bucketsMax, lockoutBucketsMax } from '../limits.ts';
import {
  type BucketClass,
  bucketClassOf,
  rateClassFrom,
  type TakeAnswer,
  type TakeItem,
  type ToPrimary,
} from './messages.ts';

export type Send = (message: ToPrimary) => void;

interface Waiter {
  readonly rateClass: RateClass;
  readonly decide: (decision: RateDecision) => void;
}

interface Batch {
  readonly waiters: readonly Waiter[];
  readonly deadline: NodeJS.Timeout;
}

/** After what a caller that nobody could count may try again. */
const retryMs = 1_000;

export class OwnedBuckets implements Buckets {
  readonly #send: Send;
  readonly #asked = new Map<number, Batch>();
  #items: TakeItem[] = [];
  #waiters: Waiter[] = [];
  #batches = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  take(rateClass: RateClass, partition: string, cost: number): Promise<RateDecision> {
    return new Promise((decide) => {
      if (this.#items.length === 0) setImmediate(() => this.#ask());
      this.#items.push([bucketClassOf(rateClass), partition, cost]);
      this.#waiters.push({ rateClass, decide });
    });
  }

  /** The primary has decided. What comes too late finds nobody: those units are lost, and none is given twice. */
  taken(number: number, answers: readonly TakeAnswer[]): void {
    const batch = this.#asked.get(number);
    if (batch === undefined) return;
    clearTimeout(batch.deadline);
    this.#asked.delete(number);
    for (const [index, { rateClass, decide }] of batch.waiters.entries()) {
      const answer = answers[index];
      if (answer === undefined) {
        decide(undecided(rateClass));
        continue;
      }
      const [admitted, remaining, fullInMs, retryInMs] = answer;
      decide({ rateClass, source: 'memory', admitted, remaining, fullInMs, retryInMs });
    }
  }

  #ask(): void {
    this.#batches += 1;
    const number = this.#batches;
    const items = this.#items;
    const waiters = this.#waiters;
    this.#items = [];
    this.#waiters = [];
    const deadline = setTimeout(() => this.taken(number, []), bucketOwnerDeadlineMs);
    this.#asked.set(number, { waiters, deadline });
    this.#send({ kind: 'take', batch: number, items });
  }
}

function undecided(rateClass: RateClass): RateDecision {
  return { rateClass, source: 'closed', admitted: false, remaining: 0, fullInMs: 0, retryInMs: retryMs };
}

/**
 * Failed credentials, counted here at once and told to the primary, which tells every worker how many there were in
 * all: the look before a check costs no round trip, and is behind the others by no more than one.
 */
export class SharedFailures implements FailureBuckets {
  readonly #send: Send;
  readonly #own: MemoryBuckets;

  constructor(send: Send, clock: Clock) {
    this.#send = send;
    this.#own = new MemoryBuckets(clock, bucketsMax);
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision {
    this.#send({ kind: 'failed', bucketClass: bucketClassOf(rateClass), partition });
    return this.#own.take(rateClass, partition, cost);
  }

  peek(rateClass: RateClass, partition: string, cost: number): RateDecision {
    return this.#own.peek(rateClass, partition, cost);
  }

  /** @param debtTicks of all workers together */
  counted(bucketClass: BucketClass, partition: string, debtTicks: number): void {
    this.#own.atLeast(rateClassFrom(bucketClass), partition, debtTicks);
  }
}

/** Wrong passwords, counted by the primary; by this worker alone where it does not answer in time. */
export class OwnedLockout implements LockoutBuckets {
  readonly #send: Send;
  readonly #own: MemoryBuckets;
  readonly #asked = new Map<number, (isEmpty: boolean) => void>();
  #questions = 0;

  constructor(send: Send, clock: Clock) {
    this.#send = send;
    this.#own = new MemoryBuckets(clock, lockoutBucketsMax);
  }

  exhaust(rateClass: RateClass, partition: string): Promise<boolean> {
    this.#questions += 1;
    const id = this.#questions;
    return new Promise((resolve) => {
      const deadline = setTimeout(
        () => this.exhausted(id, this.#own.exhaust(rateClass, partition)),
        bucketOwnerDeadlineMs,
      );
      this.#asked.set(id, (isEmpty) => {
        clearTimeout(deadline);
        resolve(isEmpty);
      });
      this.#send({ kind: 'exhaust', id, bucketClass: bucketClassOf(rateClass), partition });
    });
  }

  exhausted(id: number, isEmpty: boolean): void {
    this.#asked.get(id)?.(isEmpty);
    this.#asked.delete(id);
  }

  forget(rateClass: RateClass, partition: string): void {
    this.#own.forget(rateClass, partition);
    this.#send({ kind: 'forget', bucketClass: bucketClassOf(rateClass), partition });
  }
}
