/**
 * Buckets that all gateways share, in Redis. Redis decides, on its own clock, at most one question a request, and none
 * where its last answer will do: units on lease, or a bucket known to be empty. Where it gives no answer in time, the
 * class's own policy decides, and nobody asks again before it answers.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { bucketsMax, emptyBelievedMs, leaseCapacityMin } from '../limits.ts';
import { type RedisFault, redisFault } from '../redis/fault.ts';
import { decisionOf } from './arithmetic.ts';
import type { Away } from './away.ts';
import { Breaker } from './breaker.ts';
import { type Buckets, bucketKey } from './buckets.ts';
import { Leases } from './leases.ts';
import { type Answer, laneOf, lanes, ScriptStore, type Sender } from './script-store.ts';

export interface RedisBucketsOptions {
  readonly sender: Sender;
  /** In a cluster one node may be away while the others answer. */
  readonly isCluster: boolean;
  readonly clock: Clock;
  readonly away: Away;
  /** How long a request waits for an answer. */
  readonly deadlineMs: number;
  /** Told when Redis, or a part of it, stops to answer, and when all of it does again. It does not before `connected`. */
  readonly onTurn: (isUp: boolean, fault: RedisFault | undefined) => void;
}

/** What Redis said of an empty bucket: so many units will not be there while this stands in the cache. */
interface Empty {
  readonly cost: number;
  /** How much longer than that it takes. */
  readonly retryBeyondMs: number;
  readonly fullBeyondMs: number;
}

/** Where a breaker asks whether Redis answers: a bucket of its own, always as full as when it asked last. */
const probeClass: RateClass = { name: 'probe', capacity: 1, refillUnits: 1, refillPeriodUs: 1 };

export class RedisBuckets implements Buckets {
  readonly #options: RedisBucketsOptions;
  readonly #store: ScriptStore;
  readonly #breakers: readonly Breaker[];
  readonly #leases: Leases;
  #isUp = true;
  readonly #empties = new LRUCache<string, Empty>({ max: bucketsMax, ttlResolution: 1 });

  constructor(options: RedisBucketsOptions) {
    const { clock, deadlineMs, away } = options;
    this.#options = options;
    this.#store = new ScriptStore(options.sender, deadlineMs);
    this.#breakers = Array.from(
      { length: options.isCluster ? lanes : 1 },
      (_, lane) =>
        new Breaker(
          () => this.#probe(lane),
          (fault) => this.#turned(fault),
        ),
    );
    this.#leases = new Leases({
      store: this.#store,
      clock,
      onFault: (partition, fault) => this.#breakerOf(partition).failed(fault),
      away: (rateClass, partition, cost) => away.take(rateClass, partition, cost),
      onAnswer: (rateClass, partition, answer) => this.#answered(rateClass, partition, answer),
      onEmpty: (decision, partition, cost) => this.#isEmpty(decision, partition, cost, decision.retryInMs),
      mayAsk: (partition) => !this.#breakerOf(partition).isOpen,
    });
    for (const breaker of this.#breakers) breaker.open(redisFault(new Error('not connected yet')));
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision | Promise<RateDecision> {
    const empty = this.#knownEmpty(rateClass, partition, cost);
    if (empty !== undefined) return empty;
    if (rateClass.capacity >= leaseCapacityMin) return this.#leases.take(rateClass, partition, cost);
    if (this.#breakerOf(partition).isOpen) return this.#options.away.take(rateClass, partition, cost);
    return this.#ask(rateClass, partition, cost);
  }

  /** The connection is there, or it is gone: what is known without asking. */
  connected(isUp: boolean, fault: RedisFault | undefined): void {
    for (const breaker of this.#breakers) {
      if (isUp) void breaker.tryNow();
      else breaker.open(fault ?? redisFault(new Error('not connected')));
    }
  }

  /** Gives back what is on lease, as far as Redis answers. */
  async close(): Promise<void> {
    await this.#leases.close();
    for (const breaker of this.#breakers) breaker.close();
  }

  async #ask(rateClass: RateClass, partition: string, cost: number): Promise<RateDecision> {
    const { clock, away } = this.#options;
    const sentMs = clock.monotonicMs();
    try {
      const ask = { cost, count: 1, ahead: 0, report: undefined };
      const answer = await this.#store.ask(rateClass, partition, ask);
      this.#answered(rateClass, partition, answer);
      const admitted = answer.admitted === 1;
      const decision = decisionOf({
        rateClass,
        restingTicks: answer.debtTicks,
        cost,
        admitted,
        source: 'redis',
      });
      // Counted from when it was asked, so that it is never believed for too long.
      const believedMs = decision.retryInMs - (clock.monotonicMs() - sentMs);
      if (!admitted) this.#isEmpty(decision, partition, cost, believedMs);
      return decision;
    } catch (error) {
      this.#breakerOf(partition).failed(redisFault(error));
      return away.take(rateClass, partition, cost);
    }
  }

  #answered(rateClass: RateClass, partition: string, { debtTicks }: Answer): void {
    this.#breakerOf(partition).succeeded();
    this.#options.away.follow(rateClass, partition, debtTicks);
  }

  #isEmpty(
    { rateClass, fullInMs, retryInMs }: RateDecision,
    partition: string,
    cost: number,
    believedMs: number,
  ): void {
    // The cache keeps time by itself, so that a clock of ours that stands still shuts nobody out.
    const ttl = Math.floor(Math.min(emptyBelievedMs, believedMs));
    if (ttl <= 0) return;
    const empty = { cost, retryBeyondMs: retryInMs - ttl, fullBeyondMs: fullInMs - ttl };
    this.#empties.set(bucketKey(rateClass, partition), empty, { ttl });
  }

  #knownEmpty(rateClass: RateClass, partition: string, cost: number): RateDecision | undefined {
    const key = bucketKey(rateClass, partition);
    const empty = this.#empties.get(key);
    if (empty === undefined || cost < empty.cost) return undefined;
    const leftMs = this.#empties.getRemainingTTL(key);
    return {
      rateClass,
      source: 'empty',
      admitted: false,
      remaining: 0,
      fullInMs: leftMs + empty.fullBeyondMs,
      retryInMs: leftMs + empty.retryBeyondMs,
    };
  }

  #breakerOf(partition: string): Breaker {
    const breaker = this.#breakers[this.#breakers.length === 1 ? 0 : laneOf(partition)];
    if (breaker === undefined) throw new Error('every lane has its breaker');
    return breaker;
  }

  async #probe(lane: number): Promise<void> {
    await this.#store.ask(probeClass, probePartitions[lane] ?? '', {
      cost: 1,
      count: 1,
      ahead: 0,
      report: undefined,
    });
  }

  #turned(fault: RedisFault | undefined): void {
    const isUp = this.#breakers.every((breaker) => !breaker.isOpen);
    if (isUp === this.#isUp) return;
    this.#isUp = isUp;
    this.#options.onTurn(isUp, fault);
  }
}

/** One for each lane. */
const probePartitions = probes();

function probes(): readonly string[] {
  const found: string[] = [];
  for (let number = 0; Object.keys(found).length < lanes; number += 1) {
    const partition = `probe ${number}`;
    found[laneOf(partition)] ??= partition;
  }
  return found;
}
