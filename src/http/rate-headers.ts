/** Rate-limit headers: the registry's own, and those of draft-ietf-httpapi-ratelimit-headers-11, apart since it is a draft. */
import type { WallMs } from '../clock.ts';
import type { RateDecision } from '../exchange.ts';

/** Flat name-value list. `X-RateLimit-Reset` is the Unix second at which the bucket is full. */
export function rateHeaders(decision: RateDecision, now: WallMs): string[] {
  // Nobody has counted, so there is nothing to tell.
  if (decision.source === 'open' || decision.source === 'closed') return [];
  return [
    'X-RateLimit-Limit',
    String(decision.rateClass.capacity),
    'X-RateLimit-Remaining',
    String(decision.remaining),
    'X-RateLimit-Reset',
    String(Math.ceil((now + decision.fullInMs) / 1000)),
    ...draftHeaders(decision),
  ];
}

/** `"read";q=60;w=60` and `"read";r=59;t=1`: quota, window, remaining, and seconds until the bucket is full. */
function draftHeaders({ rateClass, remaining, fullInMs }: RateDecision): string[] {
  const windowSeconds = Math.ceil(
    (rateClass.capacity * rateClass.refillPeriodUs) / rateClass.refillUnits / 1e6,
  );
  return [
    'RateLimit-Policy',
    `"${rateClass.name}";q=${rateClass.capacity};w=${windowSeconds}`,
    'RateLimit',
    `"${rateClass.name}";r=${remaining};t=${Math.ceil(fullInMs / 1000)}`,
  ];
}
