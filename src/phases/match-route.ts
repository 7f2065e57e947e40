/** Phase 1: which route is this? A head or target that two parsers could read differently ends here. */

import { Refusal } from '../errors.ts';
import type { Exchange, RateClass, Route } from '../exchange.ts';
import { isPreflight } from '../http/cors.ts';
import { checkHead } from '../http/head.ts';
import type { RouteTable } from '../http/route-table.ts';
import { readTarget } from '../http/target.ts';

/** Routes, and what stands in where none matches. */
export interface Routing {
  readonly table: RouteTable;
  /** Answers a browser's preflight question. */
  readonly preflight: Route;
  /** The class of refusals: unknown paths and methods. */
  readonly refusalClass: RateClass;
}

/**
 * Finds the route; an unknown path or method gets a route that ends in its refusal, after every phase.
 * @throws `ambiguous_target`, `ambiguous_framing`, `repeated_header`, `malformed_request`, `headers_too_large`,
 *   `target_too_long`, `version_not_supported`, `expectation_failed`, `method_not_allowed` (TRACE)
 */
export function matchRoute(routing: Routing, exchange: Exchange): Route {
  const { request } = exchange;
  const method = request.method ?? '';
  checkHead(request);
  checkExpectation(exchange);
  const { path, query } = readTarget(request.url ?? '');
  exchange.path = path;
  exchange.query = query;
  const route = findRoute(routing, exchange, method, path);
  exchange.route = route;
  return route;
}

function findRoute(routing: Routing, exchange: Exchange, method: string, path: string): Route {
  if (method === 'TRACE')
    throw new Refusal('method_not_allowed', { headers: { Allow: allowed(routing, path) } });
  if (isPreflight(exchange.request)) return routing.preflight;
  const match = routing.table.find(method, path);
  if (match === undefined) return refusalRoute(routing, path);
  exchange.params = match.params;
  return match.route;
}

function allowed({ table }: Routing, path: string): string {
  return table.methodsOf(path).methods.join(', ');
}

function checkExpectation({ request, expectsContinue }: Exchange): void {
  if (request.headers.expect !== undefined && !expectsContinue) throw new Refusal('expectation_failed');
}

/** 404 or 405, and who may learn it: a path with a public method is public, any other asks for a credential. */
function refusalRoute({ table, refusalClass }: Routing, path: string): Route {
  const { methods, anyPublic } = table.methodsOf(path);
  const known = methods.length > 0;
  return {
    template: known ? 'method_not_allowed' : 'unknown',
    permission: anyPublic ? 'none' : 'any',
    rateClass: refusalClass,
    durable: false,
    bodyBytesMax: 0,
    inspect: 'none',
    forwardCredentials: false,
    destination: known
      ? { kind: 'refusal', code: 'method_not_allowed', allow: methods.join(', ') }
      : { kind: 'refusal', code: 'route_not_found' },
  };
}
