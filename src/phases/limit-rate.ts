/** Phase 4: how often? One unit from the bucket of this class and caller. */
import type { Buckets } from '../bucket/memory.ts';
import { Refusal } from '../errors.ts';
import type { Exchange, Permit } from '../exchange.ts';
import { addressPartition } from '../http/client-address.ts';

/** Units a request costs. */
const requestCost = 1;

/** @throws `rate_limited` */
export function limitRate(buckets: Buckets, exchange: Exchange, permit: Permit): void {
  const decision = buckets.take(permit.route.rateClass, partitionOf(exchange, permit), requestCost);
  exchange.rate = decision;
  if (decision.admitted) return;
  // Rounded up, so that whoever waits exactly this long passes.
  throw new Refusal('rate_limited', { retryAfterSeconds: Math.max(1, Math.ceil(decision.retryInMs / 1000)) });
}

/** A principal has one bucket a class, whatever token or session it uses; the anonymous share their address's. */
function partitionOf(exchange: Exchange, { principal }: Permit): string {
  return principal.kind === 'anonymous'
    ? // No subject starts like this, whatever an issuer is called.
      `@${addressPartition(exchange.clientAddress)}`
    : principal.subject;
}
