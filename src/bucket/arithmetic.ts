/**
 * The token bucket's arithmetic, in whole numbers only, so that it never rounds a unit into being and a Lua script
 * with the same doubles agrees to the last bit. A unit is worth `refillPeriodUs` ticks, and `refillUnits` ticks
 * flow back every microsecond; the debt is what is missing from a full bucket, in ticks.
 */
import type { RateClass, RateDecision, RateSource } from '../exchange.ts';

/** A bucket at a moment. One that is not stored is full. */
export interface BucketState {
  /** Ticks missing from a full bucket; 0 to capacity × refillPeriodUs, a safe integer (checked at load). */
  readonly debtTicks: number;
  /** Whole microseconds of the clock that decides. */
  readonly atUs: number;
}

export interface Take {
  readonly decision: RateDecision;
  /** What to store; the refilled bucket where nothing was taken. */
  readonly state: BucketState;
}

/**
 * Takes `cost` units, all or none. A clock that stands still or steps back refills nothing.
 * @param cost whole units, up to the capacity; 0 only refills
 * @param nowUs whole microseconds
 * @param source who decides so
 */
export function take(
  rateClass: RateClass,
  state: BucketState | undefined,
  cost: number,
  nowUs: number,
  source: RateSource = 'memory',
): Take {
  const { refillUnits, refillPeriodUs } = rateClass;
  const atUs = Math.max(nowUs, state?.atUs ?? nowUs);
  const refilledTicks = (atUs - (state?.atUs ?? atUs)) * refillUnits;
  // Its class may have been a larger one when it was stored.
  const debtTicks = Math.min(fullTicks(rateClass), Math.max(0, (state?.debtTicks ?? 0) - refilledTicks));
  const afterTicks = debtTicks + cost * refillPeriodUs;
  const admitted = afterTicks <= fullTicks(rateClass);
  const restingTicks = admitted ? afterTicks : debtTicks;
  return {
    state: { debtTicks: restingTicks, atUs },
    decision: decisionOf({ rateClass, restingTicks, cost, admitted, source }),
  };
}

/** The debt of an empty bucket. */
export function fullTicks({ capacity, refillPeriodUs }: RateClass): number {
  return capacity * refillPeriodUs;
}

/** What a caller is told of a bucket that has decided. */
export function decisionOf(decided: {
  readonly rateClass: RateClass;
  /** The debt that stands now. */
  readonly restingTicks: number;
  readonly cost: number;
  readonly admitted: boolean;
  readonly source: RateSource;
}): RateDecision {
  const { rateClass, restingTicks, cost, admitted, source } = decided;
  const { refillUnits, refillPeriodUs } = rateClass;
  const full = fullTicks(rateClass);
  return {
    rateClass,
    source,
    admitted,
    remaining: Math.floor((full - restingTicks) / refillPeriodUs),
    fullInMs: Math.ceil(restingTicks / refillUnits) / 1_000,
    retryInMs: admitted ? 0 : Math.ceil((restingTicks + cost * refillPeriodUs - full) / refillUnits) / 1_000,
  };
}
