/** Rate-limit headers: the registry's own, and those of draft-ietf-httpapi-ratelimit-headers-11, apart since it is a draft. */
import type { WallMs } from '../clock.ts';
import type { RateClass, RateDecision } from '../exchange.ts';

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

/** What is the same at each answer of a class. */
interface Words {
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
  const made = { limit: String(capacity), policy: `${quoted};q=${capacity};w=${windowSeconds}`, quoted };
  words.set(rateClass, made);
  return made;
}
