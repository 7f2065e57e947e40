/**
 * How durations, sizes, rates, numbers and switches are written in gateway.yaml. Each schema's error is a noun
 * phrase that fits "must be …" and "Write …", since that is how a problem is told.
 */
import { z } from 'zod';

const durationUnitsMs = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;
const sizeUnitsBytes = { GiB: 1024 ** 3, MiB: 1024 ** 2, KiB: 1024, B: 1 } as const;
const ratePeriodsMs = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

/** A string that `parse` turns into a value; `undefined` from it is the problem `expected`. */
const written = <T>(expected: string, parse: (text: string) => T | undefined) =>
  z.string({ error: expected }).transform((text, context) => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });

/** `30s`, `250ms`, `30m`, `7d` → milliseconds, between `minMs` and `maxMs`. */
export const duration = (minMs: number, maxMs: number) =>
  written(
    `a duration from ${inUnits(minMs, durationUnitsMs)} to ${inUnits(maxMs, durationUnitsMs)}, written like 30s (ms, s, m, h, d)`,
    (text) => within(amount(text, durationUnitsMs), minMs, maxMs),
  );

/** `512B`, `64KiB`, `1MiB` → bytes, between `minBytes` and `maxBytes`. */
export const size = (minBytes: number, maxBytes: number) =>
  written(
    `a size from ${inUnits(minBytes, sizeUnitsBytes)} to ${inUnits(maxBytes, sizeUnitsBytes)}, written like 64KiB (B, KiB, MiB, GiB)`,
    (text) => within(amount(text, sizeUnitsBytes), minBytes, maxBytes),
  );

/** What a rate is: units of a bucket, and the milliseconds in which that many flow back. */
export interface Rate {
  readonly units: number;
  readonly periodMs: number;
}

/** `60/minute`, `1000/second` → units and period; from 1 to 1,000,000 units. */
export const rate = written(
  'a rate from 1 to 1000000 per second, minute, hour or day, written like 60/minute',
  (text): Rate | undefined => {
    const match = /^(\d{1,7})\/(second|minute|hour|day)$/.exec(text);
    const units = within(Number(match?.[1]), 1, 1_000_000);
    const periodMs = ratePeriodsMs[match?.[2] as keyof typeof ratePeriodsMs];
    return units === undefined ? undefined : { units, periodMs };
  },
);

/** A whole number, or its digits in a string, as a variable gives it. */
export const integer = (min: number, max: number, expected = `a whole number from ${min} to ${max}`) => {
  return z.union([z.number(), z.string()], { error: expected }).transform((given, context) => {
    const number = typeof given === 'number' || /^\d{1,15}$/.test(given) ? Number(given) : Number.NaN;
    if (Number.isInteger(number) && number >= min && number <= max) return number;
    context.addIssue({ code: 'custom', message: expected });
    return z.NEVER;
  });
};

/** `true` or `false`, or the same words in a string, as a variable gives them. */
export const flag = z
  .union([z.boolean(), z.enum(['true', 'false'])], { error: 'true or false' })
  .transform((value) => value === true || value === 'true');

/** `12KiB` → 12288, by the table of units; NaN when it is written otherwise. */
function amount(text: string, units: Readonly<Record<string, number>>): number {
  const match = /^(\d{1,9})([A-Za-z]{1,3})$/.exec(text);
  const unit = match?.[2] ?? '';
  return Object.hasOwn(units, unit) ? Number(match?.[1]) * (units[unit] ?? Number.NaN) : Number.NaN;
}

function within(value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined;
}

/** 90000 → `90s`: the largest unit that divides it. The table runs from large to small. */
function inUnits(value: number, units: Readonly<Record<string, number>>): string {
  const fits = Object.entries(units).find(([, one]) => value >= one && value % one === 0);
  return fits ? `${value / fits[1]}${fits[0]}` : String(value);
}
