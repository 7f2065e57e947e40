/** Phase 3: may this caller do this? Denial is the last statement. */
import { Refusal } from '../errors.ts';
import type { Exchange, Principal, Route } from '../exchange.ts';
import type { Cors } from '../http/cors.ts';

/**
 * Proof that a principal was allowed a route. The class is not exported and its private field makes it nominal,
 * so nothing outside this file can make one, nor an object that passes for one.
 */
class Grant {
  readonly #made = true;
  readonly route: Route;
  readonly principal: Principal;

  constructor(route: Route, principal: Principal) {
    this.route = route;
    this.principal = principal;
  }

  /** Keeps the private field, and with it the nominal type. */
  get valid(): boolean {
    return this.#made;
  }
}

export type Permit = Grant;

/** @throws `origin_not_allowed`, `permission_denied` */
export function authorize(cors: Cors, exchange: Exchange, route: Route, principal: Principal): Permit {
  const { request, upgrade } = exchange;
  if (upgrade === undefined ? cors.refuses(request) : cors.refusesWebSocket(request))
    throw new Refusal('origin_not_allowed');
  if (route.permission === 'none') return new Grant(route, principal);
  if (route.permission === 'any' && principal.kind !== 'anonymous') return new Grant(route, principal);
  if (route.permission !== 'any' && principal.permissions.has(route.permission))
    return new Grant(route, principal);
  throw new Refusal('permission_denied', { scope: route.permission });
}
