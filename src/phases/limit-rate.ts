/** Phase 4: how often? One unit from the bucket of this class and caller. */
import type { Buckets } from '../bucket/buckets.ts';
import { Refusal } from '../errors.ts';
import type { Exchange, Permit, RateDecision } from '../exchange.ts';
import { addressPartition } from '../http/client-address.ts';

/** Units a request costs. */
const requestCost = 1;

/**
 * Without a promise where nobody else has to be asked.
 * @throws `rate_limited`, `rate_limit_unavailable`
 */
export function limitRate(buckets: Buckets, exchange: Exchange, permit: Permit): void | Promise<void> {
  const decision = buckets.take(permit.route.rateClass, partitionOf(exchange, permit), requestCost);
  if (decision instanceof Promise) return decision.then((decided) => conclude(exchange, decided));
  conclude(exchange, decision);
}

function conclude(exchange: Exchange, decision: RateDecision): void {
  exchange.rate = decision;
  if (decision.admitted) return;
  // Rounded up, so that whoever waits exactly this long passes.
  const retryAfterSeconds = Math.max(1, Math.ceil(decision.retryInMs / 1000));
  const code = decision.source === 'closed' ? 'rate_limit_unavailable' : 'rate_limited';
  throw new Refusal(code, { retryAfterSeconds });
}

/** A principal has one bucket a class, whatever token or session it uses; the anonymous share their address's. */
function partitionOf(exchange: Exchange, { principal }: Permit): string {
  return principal.kind === 'anonymous'
    ? // No subject starts like this, whatever an issuer is called.
      `@${addressPartition(exchange.clientAddress)}`
    : principal.subject;
}
