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

/** A class's name has no line end (the configuration says so), so two pairs never make one key. */
export function bucketKey(rateClass: RateClass, partition: string): string {
  return `${rateClass.name}\n${partition}`;
}
