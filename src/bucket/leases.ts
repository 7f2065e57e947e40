/**
 * Units taken from Redis ahead and spent here, so that most requests of a busy caller need no round trip. They leave
 * the bucket before they are spent, and it refills only up to the rest (`take.lua`), so that no replica ever passes
 * what another one could pass too. One bucket has one question under way at a time; requests that come meanwhile wait
 * for it together.
 */
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { bucketsMax, leaseWaitersMax } from '../limits.ts';
import { type RedisFault, redisFault } from '../redis/fault.ts';
import { decisionOf } from './arithmetic.ts';
import { bucketKey } from './buckets.ts';
import type { Answer, LeaseReport, ScriptStore } from './script-store.ts';

/** Spent only within this time after it was asked for: a little less than `take.lua` keeps it. */
const leaseMs = 1_900;
/** And only for so many sweeps, which take less than that: a clock of ours that stands still must not make it longer. */
const leaseSweeps = 4;
/** A block lasts about so long at the rate last seen. */
const horizonMs = 500;
/** The shortest time over which a rate is seen. */
const observedMsMin = 100;
/** A block is renewed in the background once no more than this part of it is left. */
const renewBelow = 0.3;
/** What was not touched for so long goes back. */
const sweepMs = 450;
/** So many at once; what does not go back comes to its end. */
const returnsMax = 256;
/** After Redis has said that a bucket is empty, so long at least nobody asks again. */
const emptyMsMin = 10;
/** Between two questions in the background. */
const renewMsMin = 50;

interface Waiter {
  readonly cost: number;
  readonly decide: (decision: RateDecision) => void;
}

/** What this replica holds of one bucket. */
interface Lease {
  readonly rateClass: RateClass;
  readonly partition: string;
  /** Left to spend. */
  units: number;
  /** Spent since Redis was last told. */
  spent: number;
  /** When it was asked for, and how many sweeps ago it came. */
  sentMs: number;
  sentWallMs: number;
  sweeps: number;
  /** As Redis knows it; 0 for what Redis may not be told of, since an answer was lost. */
  born: number;
  expiryUs: number;
  /** What Redis last gave. */
  block: number;
  debtTicks: number;
  /** Units asked for since `observedSinceMs`. */
  observed: number;
  observedSinceMs: number;
  isAsking: boolean;
  isTouched: boolean;
  readonly waiters: Waiter[];
}

export interface LeasesOptions {
  readonly store: ScriptStore;
  readonly clock: Clock;
  readonly onFault: (partition: string, fault: RedisFault) => void;
  /** Decides where Redis has not. */
  readonly away: (rateClass: RateClass, partition: string, cost: number) => RateDecision;
  /** Told of every answer. */
  readonly onAnswer: (rateClass: RateClass, partition: string, answer: Answer) => void;
  /** Told that this many units will not be there before. */
  readonly onEmpty: (decision: RateDecision, partition: string, cost: number) => void;
  /** Whether this bucket may be asked for now. */
  readonly mayAsk: (partition: string) => boolean;
}

export class Leases {
  readonly #options: LeasesOptions;
  readonly #leases: LRUCache<string, Lease>;
  readonly #sweep: NodeJS.Timeout;

  constructor(options: LeasesOptions) {
    this.#options = options;
    // One that is pushed out is not told of: Redis counts its units as spent when it ends.
    this.#leases = new LRUCache({ max: bucketsMax });
    this.#sweep = setInterval(() => this.#sweepAll(), sweepMs);
    this.#sweep.unref();
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision | Promise<RateDecision> {
    const lease = this.#leaseOf(rateClass, partition);
    lease.observed += cost;
    lease.isTouched = true;
    const { waiters } = lease;
    if (waiters.length === 0 && this.#spend(lease, cost)) {
      this.#renew(lease);
      return this.#decision(lease, cost, true, 'lease');
    }
    if (!this.#options.mayAsk(partition) || waiters.length >= leaseWaitersMax)
      return this.#options.away(rateClass, partition, cost);
    return new Promise((decide) => {
      waiters.push({ cost, decide });
      if (!lease.isAsking) void this.#askForAll(lease);
    });
  }

  /** Gives back what is left, as far as that can be done now. */
  async close(): Promise<void> {
    clearInterval(this.#sweep);
    await Promise.all([...this.#leases.values()].map((lease) => this.#giveBack(lease)));
  }

  #leaseOf(rateClass: RateClass, partition: string): Lease {
    const key = bucketKey(rateClass, partition);
    const known = this.#leases.get(key);
    if (known !== undefined) return known;
    const lease: Lease = {
      rateClass,
      partition,
      units: 0,
      spent: 0,
      sentMs: 0,
      sentWallMs: 0,
      sweeps: 0,
      born: 0,
      expiryUs: 0,
      block: 0,
      debtTicks: 0,
      observed: 0,
      observedSinceMs: this.#nowMs(),
      isAsking: false,
      isTouched: true,
      waiters: [],
    };
    this.#leases.set(key, lease);
    return lease;
  }

  #spend(lease: Lease, cost: number): boolean {
    if (lease.units < cost || this.#isOver(lease)) return false;
    lease.units -= cost;
    lease.spent += cost;
    return true;
  }

  /** By whichever clock says so first: one that was stopped or set must not make a lease longer. */
  #isOver({ sentMs, sentWallMs, sweeps }: Lease): boolean {
    const { clock } = this.#options;
    const elapsedMs = clock.monotonicMs() - sentMs;
    return (
      elapsedMs >= leaseMs || elapsedMs < 0 || clock.wallMs() - sentWallMs >= leaseMs || sweeps >= leaseSweeps
    );
  }

  /** In the background, before it runs out. */
  #renew(lease: Lease): void {
    const { isAsking, units, block, partition, observedSinceMs } = lease;
    const isLow = units <= block * renewBelow && this.#nowMs() - observedSinceMs >= renewMsMin;
    if (!isLow || isAsking || !this.#options.mayAsk(partition)) return;
    if (wishOf(lease, this.#nowMs()) > 0) void this.#askForAll(lease);
  }

  /** At least once, and until nobody waits. */
  async #askForAll(lease: Lease): Promise<void> {
    lease.isAsking = true;
    const { waiters } = lease;
    do {
      const cost = waiters[0]?.cost ?? 1;
      const others = waiters.findIndex((waiter) => waiter.cost !== cost);
      const batch = waiters.splice(0, others === -1 ? waiters.length : others);
      const isAnswered = this.#options.mayAsk(lease.partition) && (await this.#askFor(lease, batch, cost));
      // Whoever came while no answer came has waited as well, and is not kept for another question.
      if (!isAnswered) this.#sendAway(lease, [...batch, ...waiters.splice(0)]);
      this.#serve(lease);
    } while (waiters.length > 0);
    lease.isAsking = false;
  }

  /** Those who came meanwhile, from what came meanwhile. */
  #serve(lease: Lease): void {
    const { waiters } = lease;
    while (waiters[0] !== undefined && this.#spend(lease, waiters[0].cost)) {
      const waiter = waiters.shift();
      waiter?.decide(this.#decision(lease, waiter.cost, true, 'lease'));
    }
  }

  #sendAway({ rateClass, partition }: Lease, batch: readonly Waiter[]): void {
    for (const { decide, cost } of batch) decide(this.#options.away(rateClass, partition, cost));
  }

  /** Whether there was an answer; if not, nobody has been told anything. */
  async #askFor(lease: Lease, batch: readonly Waiter[], cost: number): Promise<boolean> {
    const { store, clock, onAnswer, onFault } = this.#options;
    const { rateClass, partition } = lease;
    const [sentMs, sentWallMs] = [clock.monotonicMs(), clock.wallMs()];
    const ahead = wishOf(lease, sentMs);
    lease.observed = 0;
    lease.observedSinceMs = sentMs;
    const report = this.#report(lease);
    try {
      const answer = await store.ask(rateClass, partition, { cost, count: batch.length, ahead, report });
      settle(lease, answer, report, sentMs, sentWallMs);
      onAnswer(rateClass, partition, answer);
      this.#decide(lease, batch, cost, answer);
      return true;
    } catch (error) {
      // It may have been carried out: what it said is not said again, and what is left is spent while it lasts.
      lease.born = 0;
      onFault(partition, redisFault(error));
      return false;
    }
  }

  #decide(lease: Lease, batch: readonly Waiter[], cost: number, { admitted }: Answer): void {
    for (const [index, waiter] of batch.entries())
      waiter.decide(this.#decision(lease, cost, index < admitted, 'redis'));
    if (admitted < batch.length)
      this.#options.onEmpty(this.#decision(lease, cost, false, 'redis'), lease.partition, cost);
  }

  #decision(lease: Lease, cost: number, admitted: boolean, source: RateDecision['source']): RateDecision {
    const { rateClass, debtTicks, units } = lease;
    const decision = decisionOf({ rateClass, restingTicks: debtTicks, cost, admitted, source });
    const retryInMs = admitted ? 0 : Math.max(decision.retryInMs, emptyMsMin);
    return { ...decision, retryInMs, remaining: Math.min(rateClass.capacity, decision.remaining + units) };
  }

  #sweepAll(): void {
    let returns = 0;
    for (const lease of this.#leases.values()) {
      lease.sweeps += 1;
      if (lease.isTouched) lease.isTouched = false;
      else if (lease.units > 0 && returns < returnsMax) {
        returns += 1;
        void this.#giveBack(lease);
      }
    }
  }

  async #giveBack(lease: Lease): Promise<void> {
    const { rateClass, partition, isAsking } = lease;
    if (isAsking || lease.units === 0 || !this.#options.mayAsk(partition)) return;
    const report = this.#report(lease);
    const returned = (report?.kept ?? 0) + (report?.returned ?? 0);
    lease.units = 0;
    lease.block = 0;
    lease.born = 0;
    if (report === undefined) return;
    const ask = { cost: 1, count: 0, ahead: 0, report: { ...report, kept: 0, returned } };
    try {
      await this.#options.store.ask(rateClass, partition, ask);
    } catch (error) {
      this.#options.onFault(partition, redisFault(error));
    }
  }

  /** Told once: from here on what is spent is counted anew. What has come to its end here goes back. */
  #report(lease: Lease): LeaseReport | undefined {
    const isOver = this.#isOver(lease);
    const { born, expiryUs, spent, units } = lease;
    if (isOver) lease.units = 0;
    lease.spent = 0;
    if (born === 0 || spent + units === 0) return undefined;
    return { born, expiryUs, spent, kept: isOver ? 0 : units, returned: isOver ? units : 0 };
  }

  #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

/** As much as lasts for the horizon at the rate seen since the last question; nothing for a caller that is rare. */
function wishOf({ observed, observedSinceMs, units }: Lease, nowMs: number): number {
  const perMs = observed / Math.max(observedMsMin, nowMs - observedSinceMs);
  const wanted = Math.floor(perMs * horizonMs);
  return wanted < 2 ? 0 : Math.max(0, wanted - units);
}

/** @param sentMs when it was asked: its time began no earlier */
function settle(
  lease: Lease,
  { leased, kept, born, expiryUs, debtTicks }: Answer,
  report: LeaseReport | undefined,
  sentMs: number,
  sentWallMs: number,
): void {
  // Units that Redis no longer holds for us are not ours.
  if (report === undefined || kept !== report.kept) {
    lease.units = 0;
    lease.spent = 0;
  }
  lease.units += leased;
  lease.block = lease.units;
  Object.assign(lease, { born, expiryUs, debtTicks, sentMs, sentWallMs, sweeps: 0 });
}
