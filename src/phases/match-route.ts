/** Phase 1: which route is this? A head or target that two parsers could read differently ends here. */

import { Refusal } from '../errors.ts';
import type { Exchange, PartitionedClass, Route } from '../exchange.ts';
import { isPreflight } from '../http/cors.ts';
import { checkHead, type HeadLimits } from '../http/head.ts';
import type { RouteMatch, RouteTable } from '../http/route-table.ts';
import { readTarget } from '../http/target.ts';
import { asksForWebSocket, handshakeFault } from '../http/websocket.ts';

/** Routes, and what stands in where none matches. */
export interface Routing {
  readonly table: RouteTable;
  /** Answers a browser's preflight question. */
  readonly preflight: Route;
  /** The class of refusals: unknown paths and methods. */
  readonly refusalClass: PartitionedClass;
  readonly limits: HeadLimits;
}

/**
 * Finds the route; an unknown path or method gets a route that ends in its refusal, after every phase.
 * @throws `ambiguous_target`, `ambiguous_framing`, `repeated_header`, `malformed_request`, `headers_too_large`,
 *   `target_too_long`, `version_not_supported`, `expectation_failed`, `malformed_handshake`, `websocket_version`,
 *   `method_not_allowed` (TRACE)
 */
export function matchRoute(routing: Routing, exchange: Exchange): Route {
  const { request } = exchange;
  const method = request.method ?? '';
  checkHead(request, routing.limits);
  checkExpectation(exchange);
  checkUpgrade(exchange);
  const { path, query } = readTarget(request.url ?? '', routing.limits.targetBytesMax);
  exchange.path = path;
  exchange.query = query;
  const route = findRoute(routing, exchange, method, path);
  exchange.route = route;
  return route;
}

function findRoute(routing: Routing, exchange: Exchange, method: string, path: string): Route {
  if (isPreflight(exchange.request)) return routing.preflight;
  const match = routing.table.find(method, path);
  if (method === 'TRACE') throw new Refusal('method_not_allowed', { headers: { Allow: allowed(match) } });
  if (match?.route === undefined)
    return refusalRoute(routing, match?.methods.length === 0 ? undefined : match);
  exchange.params = match.params;
  return match.route;
}

function allowed(match: RouteMatch | undefined): string {
  return match?.methods.join(', ') ?? '';
}

function checkExpectation({ request, expectsContinue }: Exchange): void {
  if (request.headers.expect !== undefined && !expectsContinue) throw new Refusal('expectation_failed');
}

/** What asks for a WebSocket is one handshake for it and nothing more, or ends here. Other protocols are not heard. */
function checkUpgrade({ request, upgrade }: Exchange): void {
  if (upgrade === undefined && !asksForWebSocket(request)) return;
  const fault = handshakeFault(request);
  if (fault !== undefined) throw fault;
  // Behind another request, or with bytes behind it that may be one (CWE-444).
  if (upgrade === undefined || upgrade.spokeEarly) throw new Refusal('malformed_handshake');
}

/** 404 or 405, and who may learn it: a path with a public method is public, any other asks for a credential. */
function refusalRoute({ refusalClass }: Routing, match: RouteMatch | undefined): Route {
  return {
    template: match === undefined ? 'unknown' : 'unknown_method',
    permission: match?.anyPublic === true ? 'none' : 'any',
    rateClass: refusalClass,
    cost: 1,
    durable: false,
    bodyBytesMax: 0,
    forwardCredentials: false,
    destination:
      match === undefined
        ? { kind: 'refusal', code: 'route_not_found' }
        : { kind: 'refusal', code: 'method_not_allowed', allow: allowed(match) },
  };
}
