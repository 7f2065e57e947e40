/** What is allowed and yet worth a second look. */
import { parseRedisUrl, redisCrossesNetworkInPlainText } from '../redis/url.ts';
import { crossesNetworkInPlainText } from '../sql/url.ts';
import { databaseLocation } from './database-location.ts';
import type { Report } from './report.ts';
import type { Config, RouteConfig } from './schema.ts';

/** Tells what an operator may not have meant to `report`. */
export function warn(config: Config, report: Report): void {
  if (config.listen.tls === undefined && !isLoopback(config.listen.host)) {
    const hint =
      'Write listen.tls, end TLS in front of the gateway, or listen on 127.0.0.1 beside the service that calls it.';
    report.value(['listen', 'host'], 'credentials reach this address without TLS', hint);
  }
  if (crossesNetworkInPlainText(databaseLocation(config.database))) {
    const hint =
      'Add ?sslmode=verify-full, with sslrootcert= unless a public authority signed its certificate.';
    report.value(['database'], 'password hashes and the password itself reach this host without TLS', hint);
  }
  const { redis } = config.rate_limits;
  if (redis && redisCrossesNetworkInPlainText(parseRedisUrl(redis))) {
    const hint = 'Write rediss:// (with ?ca=FILE unless a public authority signed its certificate).';
    report.value(
      ['rate_limits', 'redis'],
      "callers' names and the password reach this host without TLS",
      hint,
    );
  }
  if (!redis && config.rate_limits.replicas > 1) {
    const hint = 'Set REDIS_URL, so that all replicas count together.';
    report.value(['rate_limits', 'replicas'], 'means nothing without rate_limits.redis', hint);
  }
  if (config.cors.allowed_origins.includes('*')) {
    const hint = 'Name the origins of your own pages.';
    report.value(['cors', 'allowed_origins'], 'every web page anywhere may call, changes included', hint);
  }
  const { endpoint, headers } = config.tracing;
  if (Object.keys(headers).length > 0 && sendsInPlainText(endpoint)) {
    const hint = 'Write an https URL, or send to a collector on this machine.';
    report.value(['tracing', 'endpoint'], 'the headers reach this address without TLS', hint);
  }
  for (const [index, { permissions }] of config.auth.issuers.entries()) {
    if (permissions.grant.length > 0 || permissions.claims.length > 0) continue;
    const hint = 'Write permissions: { grant: [read] }, or claims that say who may do what.';
    report.value(['auth', 'issuers', index], 'its tokens are taken and allow nothing', hint);
  }
  for (const [index, route] of config.routes.entries()) {
    warnOfRoute(['routes', index], route, report);
    warnOfPublicRemainder(['routes', index], route, config.routes, report);
  }
}

function sendsInPlainText(url: string): boolean {
  return url.startsWith('http:') && !isLoopback(new URL(url).hostname.replaceAll(/[[\]]/g, ''));
}

/** Many services take `/ADM` and `/adm/` for `/adm`; here they are other paths, and a wider public route takes them. */
function warnOfPublicRemainder(
  path: readonly [string, number],
  route: RouteConfig,
  routes: readonly RouteConfig[],
  report: Report,
): void {
  if (route.permission !== 'none' || !route.path.endsWith('*')) return;
  const base = route.path.slice(0, -1);
  const inside = routes.find((other) => other.permission !== 'none' && other.path.startsWith(base));
  if (inside === undefined) return;
  const message = `is public, and with it every spelling of ${inside.path} that the service may take for it`;
  report.value(
    [...path, 'permission'],
    message,
    `Write a permission here, or list what is public path by path.`,
  );
}

function warnOfRoute(path: readonly [string, number], route: RouteConfig, report: Report): void {
  if (route.permission === 'none' && changesThings(route)) {
    const hint = 'Write a permission, or methods: [GET, HEAD].';
    report.value([...path, 'permission'], 'anyone may change things here without a credential', hint);
  }
  if (route.forward_credentials) {
    const hint = 'Remove it unless the upstream checks credentials itself.';
    report.value([...path, 'forward_credentials'], "the upstream sees its callers' credentials", hint);
  }
}

function changesThings({ methods }: RouteConfig): boolean {
  return (
    methods === undefined || methods.some((method) => !['GET', 'HEAD', 'OPTIONS', 'QUERY'].includes(method))
  );
}

function isLoopback(host: string): boolean {
  return /^(?:localhost|::1|127(?:\.\d{1,3}){3})$/.test(host);
}
