/** Phase 4: how often? What the route costs, from the bucket of its class and of whoever shares it. */
import type { Buckets } from '../bucket/buckets.ts';
import { Refusal } from '../errors.ts';
import type { Exchange, Permit, Principal, RateDecision } from '../exchange.ts';
import { addressPartition, partitionOf } from '../http/client-address.ts';

/**
 * Without a promise where nobody else has to be asked.
 * @throws `rate_limited`, `rate_limit_unavailable`
 */
export function limitRate(buckets: Buckets, exchange: Exchange, permit: Permit): void | Promise<void> {
  const { rateClass, cost } = permit.route;
  const decision = buckets.take(rateClass, partitionKey(exchange, permit), cost);
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

/**
 * Names a bucket within its class. Two partitions never make one key: an address starts with `@`, a route's template
 * has no space in it, and a subject has neither before its first colon.
 */
function partitionKey({ clientAddress }: Exchange, { route, principal }: Permit): string {
  const { template, rateClass } = route;
  switch (rateClass.partition) {
    case 'principal':
      return subjectOf(principal, clientAddress);
    case 'address':
      return addressOf(clientAddress);
    case 'user':
      return userOf(principal, clientAddress);
    case 'route':
      return template;
    case 'principal+route':
      return `${template} ${subjectOf(principal, clientAddress)}`;
    case 'address+route':
      return `${template} ${addressOf(clientAddress)}`;
    case 'user+route':
      return `${template} ${userOf(principal, clientAddress)}`;
  }
}

/** The same whatever token or session is used; the anonymous share their address's. */
function subjectOf(principal: Principal, clientAddress: string): string {
  return partitionOf(clientAddress, principal);
}

/** A user and all keys that belong to that user together; a key that belongs to nobody is by itself. */
function userOf(principal: Principal, clientAddress: string): string {
  return principal.owner ?? subjectOf(principal, clientAddress);
}

function addressOf(clientAddress: string): string {
  return `@${addressPartition(clientAddress)}`;
}
