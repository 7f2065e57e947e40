/** Claims that more than one kind of token has, checked in one way (RFC 7519 §4.1). */
import type { WallMs } from '../clock.ts';
import { type Reason, Refusal } from '../errors.ts';

type Claims = Readonly<Record<string, unknown>>;

/** @throws Refusal `invalid_credential` with reason `missing_claim` for one that is absent */
export function requireClaims(claims: Claims, names: readonly string[]): void {
  // Not `name in claims`: `constructor` is no claim.
  if (!names.every((name) => Object.hasOwn(claims, name))) throw invalid('missing_claim');
}

/** How far two clocks may be apart, in milliseconds. */
export interface Leeway {
  /** A token is taken so long after its `exp`. */
  readonly expMs: number;
  /** And so long before its `nbf` and `iat`. */
  readonly aheadMs: number;
}

/**
 * A NumericDate may have a fraction (RFC 7519 §2), but has to be a number: `1e999` is Infinity and never expires.
 * @throws Refusal `invalid_credential` with reason `malformed`, `expired` or `not_yet_valid`
 */
export function requireTimes(
  { exp, nbf, iat }: Claims,
  leeway: Leeway,
  now: WallMs,
  isTime: (value: unknown) => value is number = isNumericDate,
): void {
  if (!isTime(exp) || !(nbf === undefined || isTime(nbf)) || !(iat === undefined || isTime(iat))) {
    throw invalid('malformed');
  }
  if (exp * 1000 + leeway.expMs <= now) throw invalid('expired');
  const latest = now + leeway.aheadMs;
  if ((nbf ?? 0) * 1000 > latest || (iat ?? 0) * 1000 > latest) throw invalid('not_yet_valid');
}

function isNumericDate(value: unknown): value is number {
  // Past the year 270,000 a Date ends, and so does every reason to believe the claim.
  return typeof value === 'number' && Math.abs(value) <= 8.64e12;
}

export function invalid(reason: Reason): Refusal {
  return new Refusal('invalid_credential', { reason });
}
