/** Medians and spreads; a ratio is taken within each round, since rounds differ more than what runs in them. */
import type { Sample } from './load.ts';

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const low = sorted[Math.floor(middle)] ?? Number.NaN;
  const high = sorted[Math.ceil(middle)] ?? Number.NaN;
  return { median: (low + high) / 2, least: sorted[0] ?? Number.NaN, most: sorted.at(-1) ?? Number.NaN };
}

/** Round by round. */
export function ratioOf(samples: readonly Sample[], floor: readonly Sample[]): Spread {
  return spreadOf(samples.map(({ us }, round) => us / (floor[round]?.us ?? Number.NaN)));
}

/** Of the peer's core that others may have before a figure says more about them. */
const othersMax = 0.15;
/** @param others shares of the core that others had */
export function doubtsOfOthers(others: readonly number[]): string[] {
  const { median } = spreadOf(others);
  return median > othersMax ? [`others had ${percent(median)} of the core`] : [];
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** A peer that waits for its clients pays for waking up, which is another job. */
const usedMin = 0.6;

/** Why a contender's figures cannot be held against another's; empty when they can. */
export function doubtsOf(samples: readonly Sample[]): string[] {
  const most = (pick: (sample: Sample) => number) => spreadOf(samples.map(pick)).median;
  const doubts: string[] = [];
  const wrong = Math.max(...samples.map((sample) => sample.wrong));
  if (wrong > 0.001) doubts.push(`${percent(wrong)} of the answers were not the expected one`);
  doubts.push(...doubtsOfOthers(samples.map(({ others }) => others)));
  // What others took, it could not use.
  const used = most((sample) => sample.used / Math.max(0.01, 1 - sample.others));
  if (used < usedMin)
    doubts.push(`it used ${percent(used)} of what it could have of its core: the load was too small`);
  return doubts;
}
