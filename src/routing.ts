/** The route table: the gateway's own endpoints and the configured routes, alike to every phase but the last. */
import type { Failures } from './bucket/failures.ts';
import type { Clock } from './clock.ts';
import { type Config, type RouteConfig, rateClassOf } from './config/schema.ts';
import type { KnownCredentials } from './credentials/known.ts';
import { docsEndpoints } from './endpoints/docs.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import { healthEndpoint } from './endpoints/health.ts';
import { openapiEndpoint } from './endpoints/openapi.ts';
import { preflightEndpoint } from './endpoints/preflight.ts';
import { UpstreamDocument } from './endpoints/upstream-document.ts';
import type { PartitionedClass, Route } from './exchange.ts';
import type { Cors } from './http/cors.ts';
import { RouteTable, routableMethods } from './http/route-table.ts';
import type { Upstream } from './http/upstream.ts';
import { adminEndpoints } from './identity/admin-endpoints.ts';
import { authEndpoints } from './identity/auth-endpoints.ts';
import type { Identity } from './identity/store.ts';
import { inspectionOf } from './inspection/open.ts';
import { endpointBodyBytesMax, routeBodyBytesDefault } from './limits.ts';
import type { Routing } from './phases/match-route.ts';

export interface RoutingParts {
  readonly config: Config;
  readonly identity: Identity;
  readonly failures: Failures;
  readonly known: KnownCredentials;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly clock: Clock;
  readonly cors: Cors;
  readonly version: string;
  /** Those that read the audit log; none where there is no file to read. */
  readonly auditEndpoints: readonly Endpoint[];
}

export function buildRouting(parts: RoutingParts): Routing {
  const { config, upstreams } = parts;
  const table = new RouteTable();
  for (const route of config.routes) addUpstreamRoute(table, config, route, upstreams);
  for (const endpoint of endpointsOf(parts, table)) addEndpoint(table, config, endpoint);
  for (const pattern of ownPatterns(config)) table.reserve(pattern);
  return {
    table,
    preflight: endpointRoute(config, preflightEndpoint(parts.cors)),
    refusalClass: classOf(config, 'public'),
    limits: {
      headersMax: config.listen.limits.headers,
      targetBytesMax: config.listen.limits.target_bytes,
    },
  };
}

/** A mistyped `/auth/logn` must not carry its password to a catch-all's upstream. */
function ownPatterns(config: Config): string[] {
  if (config.endpoints.prefix !== '/') return [prefixed(config, '/*')];
  const { identity, docs } = config.endpoints;
  return [...(identity ? ['/auth/*', '/admin/*'] : []), ...(docs ? ['/docs/*'] : [])];
}

function endpointsOf(parts: RoutingParts, routes: RouteTable): Endpoint[] {
  const { config, identity, failures, known } = parts;
  const { endpoints: enabled } = config;
  const described = [
    ...(enabled.health ? [healthEndpoint] : []),
    ...(enabled.identity
      ? [
          ...authEndpoints({ identity, failures, known }),
          ...adminEndpoints({ identity }),
          ...parts.auditEndpoints,
        ]
      : []),
  ];
  return enabled.docs
    ? [...described, ...docsEndpoints(enabled.prefix), describer(parts, described, routes)]
    : described;
}

function describer(
  { config, upstreams, clock, version }: RoutingParts,
  endpoints: readonly Endpoint[],
  routes: RouteTable,
): Endpoint {
  const documents = [...upstreams.values()].flatMap((upstream) =>
    upstream.openapiPath === undefined ? [] : [new UpstreamDocument(upstream, upstream.openapiPath, clock)],
  );
  return openapiEndpoint({
    version,
    prefix: config.endpoints.prefix,
    endpoints,
    upstreams: documents,
    routes,
  });
}

function addEndpoint(table: RouteTable, config: Config, endpoint: Endpoint): void {
  const pattern = prefixed(config, endpoint.path).replaceAll(/\{(\w+)\}/g, ':$1');
  const methods = endpoint.method === 'GET' ? ['GET', 'HEAD'] : [endpoint.method];
  table.add(pattern, methods, endpointRoute(config, endpoint));
}

function endpointRoute(config: Config, endpoint: Endpoint): Route {
  return {
    template: prefixed(config, endpoint.path),
    permission: endpoint.permission,
    rateClass: classOf(config, endpoint.rateClass),
    cost: 1,
    durable: endpoint.durable,
    bodyBytesMax: endpointBodyBytesMax,
    forwardCredentials: false,
    destination: { kind: 'local', endpoint },
  };
}

function prefixed({ endpoints }: Config, path: string): string {
  return endpoints.prefix === '/' ? path : `${endpoints.prefix}${path}`;
}

const readingMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'QUERY']);

/** Reading and changing methods of one route differ in what must be on record before they are done. */
function addUpstreamRoute(
  table: RouteTable,
  config: Config,
  route: RouteConfig,
  upstreams: ReadonlyMap<string, Upstream>,
): void {
  const upstream = upstreams.get(route.upstream);
  if (upstream === undefined) throw new Error(`route ${route.path} names an upstream that is not there`);
  const inspection = inspectionOf(config, route);
  for (const method of route.methods ?? routableMethods) {
    table.add(route.path, [method], {
      template: route.path,
      permission: route.permission,
      rateClass: classOf(config, route.class),
      cost: route.cost,
      durable: !readingMethods.has(method),
      bodyBytesMax: route.max_body ?? routeBodyBytesDefault,
      inspection,
      contentTypes: route.content_types,
      forwardCredentials: route.forward_credentials,
      streamIdleMs: route.stream_idle,
      destination: { kind: 'upstream', upstream, assertion: route.assertion, websocket: route.websocket },
    });
  }
}

/** The configuration was checked: a class that is missing here is a mistake of ours. */
function classOf(config: Config, className: string): PartitionedClass {
  const found = rateClassOf(config, className);
  if (found === undefined) throw new Error(`there is no rate class ${className}`);
  return found;
}
