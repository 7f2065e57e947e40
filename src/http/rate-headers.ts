/** Rate-limit headers: the registry's own, and those of draft-ietf-httpapi-ratelimit-headers-11, apart since it is a draft. */
import type { WallMs } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';
import { linesOf } from './checked-response.ts';

/**
 * Flat name-value list. `X-RateLimit-Reset` is the Unix second at which the bucket is full; in `"read";r=59;t=1` the
 * last are the units that remain and the seconds until then.
 */
export function rateHeaders(decision: RateDecision, now: WallMs): string[] {
  // Nobody has counted, so there is nothing to tell.
  if (decision.source === 'open' || decision.source === 'closed') return [];
  const { rateClass, remaining, fullInMs } = decision;
  const { limit, policy, quoted } = wordsOf(rateClass);
  return [
    'X-RateLimit-Limit',
    limit,
    'X-RateLimit-Remaining',
    String(remaining),
    'X-RateLimit-Reset',
    String(Math.ceil((now + fullInMs) / 1000)),
    'RateLimit-Policy',
    policy,
    'RateLimit',
    `${quoted};r=${remaining};t=${Math.ceil(fullInMs / 1000)}`,
  ];
}

/** The same as whole lines. */
export function rateLines(decision: RateDecision, now: WallMs): string {
  const { rateClass, source, remaining, fullInMs } = decision;
  if (source === 'open' || source === 'closed') return '';
  const { lines, quoted } = wordsOf(rateClass);
  const resetSeconds = Math.ceil((now + fullInMs) / 1000);
  const fullSeconds = Math.ceil(fullInMs / 1000);
  return `${lines}X-RateLimit-Remaining: ${remaining}\r\nX-RateLimit-Reset: ${resetSeconds}\r\nRateLimit: ${quoted};r=${remaining};t=${fullSeconds}\r\n`;
}

/** What is the same at each answer of a class. */
interface Words {
  /** `limit` and `policy` as whole lines. */
  readonly lines: string;
  readonly limit: string;
  /** `"read";q=60;w=60`: quota, and the seconds it takes to flow back. */
  readonly policy: string;
  readonly quoted: string;
}

const words = new WeakMap<RateClass, Words>();

function wordsOf(rateClass: RateClass): Words {
  const known = words.get(rateClass);
  if (known !== undefined) return known;
  const { name, capacity, refillPeriodUs, refillUnits } = rateClass;
  const windowSeconds = Math.ceil((capacity * refillPeriodUs) / refillUnits / 1e6);
  const quoted = `"${name}"`;
  const limit = String(capacity);
  const policy = `${quoted};q=${capacity};w=${windowSeconds}`;
  const lines = linesOf(['X-RateLimit-Limit', limit, 'RateLimit-Policy', policy]);
  const made = { lines, limit, policy, quoted };
  words.set(rateClass, made);
  return made;
}
