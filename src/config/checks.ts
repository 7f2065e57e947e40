/**
 * What no single value shows: that names lead somewhere, that two routes do not claim the same request, that
 * bounds which depend on each other fit. Each check stands alone and reads only the sections it needs, so that
 * one broken section does not hide the problems of the others.
 */
import { parseRedisUrl, RedisUrlError } from '../redis/url.ts';
import { type DatabaseLocation, DatabaseUrlError } from '../sql/url.ts';
import { checkAssertions } from './assertion-checks.ts';
import { checkCosts, checkPublicPartitions } from './class-checks.ts';
import { checkNoDatabase, databaseLocation } from './database-location.ts';
import { checkInspection } from './inspection-checks.ts';
import { checkIssuers } from './issuer-checks.ts';
import { nearest } from './nearest.ts';
import { either, type Path } from './problem.ts';
import type { Report } from './report.ts';
import { routePathFault } from './route-path.ts';
import type { Config, RateClassConfig, RouteConfig } from './schema.ts';
import { secretFault } from './secret-strength.ts';
import { checkSinks } from './sink-checks.ts';
import { checkStreams } from './stream-checks.ts';
import { checkCertificates, checkTls } from './tls-checks.ts';
import { checkWorkers } from './worker-schema.ts';

type Section =
  | 'listen'
  | 'operations'
  | 'database'
  | 'auth'
  | 'audit'
  | 'endpoints'
  | 'cors'
  | 'headers'
  | 'inspection';

/** A configuration as far as it could be parsed; `undefined` is what could not be. */
export type Draft = { readonly [Key in Section]: Config[Key] | undefined } & {
  /** By index. */
  readonly routes: ReadonlyArray<RouteConfig | undefined>;
  readonly classes: Readonly<Record<string, RateClassConfig | undefined>>;
  /** The names written, whether what they name could be parsed or not. */
  readonly classNames: readonly string[] | undefined;
  readonly upstreamNames: readonly string[] | undefined;
  readonly redis: string | undefined;
  readonly workers: number | undefined;
};

/** Tells every problem of the draft to `report`. */
export function checkTogether(draft: Draft, report: Report): void {
  for (const check of checks) check(draft, report);
}

/** A body that is inspected is held in memory as a whole. */
const inspectedBodyBytesMax = 16 * 1024 ** 2;

const checks: ReadonlyArray<(draft: Draft, report: Report) => void> = [
  checkDatabase,
  checkNoDatabase,
  checkRedis,
  checkAddresses,
  checkTimeouts,
  checkLimits,
  checkLifetimes,
  checkLockout,
  checkSecrets,
  checkSharedSecrets,
  checkTokenKeys,
  checkIssuers,
  checkTls,
  checkCertificates,
  checkSinks,
  checkClasses,
  checkRoutes,
  checkCosts,
  checkPublicPartitions,
  checkInspection,
  checkRoutesAlike,
  checkAssertions,
  checkStreams,
  checkOwnPaths,
  checkOrigins,
  checkHeaders,
  checkWorkers,
];

function checkDatabase({ database }: Draft, report: Report): void {
  if (database === undefined) return;
  try {
    databaseLocation(database);
  } catch (error) {
    if (!(error instanceof DatabaseUrlError)) throw error;
    report.value(['database'], error.fault, error.hint);
  }
}

function checkRedis({ redis }: Draft, report: Report): void {
  if (!redis) return;
  try {
    parseRedisUrl(redis);
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error;
    report.value(['rate_limits', 'redis'], error.fault, error.hint);
  }
}

/** What one gateway made up for itself would be worth nothing to another one on the same database. */
function checkSharedSecrets({ database, auth, audit }: Draft, report: Report): void {
  if (database === undefined || auth === undefined || locationOf(database)?.kind !== 'postgres') return;
  const needed = [
    ...(auth.tokens.keys.length > 0
      ? []
      : [[['auth', 'tokens', 'secrets'], auth.tokens.secrets, 'SECRET_KEY'] as const]),
    [['auth', 'api_keys', 'hmac_keys'], auth.api_keys.hmac_keys, 'API_KEY_HMAC_KEY'],
    ...(audit === undefined || audit.pseudonymize.length === 0
      ? []
      : [[['audit', 'pseudonym_key'], [audit.pseudonym_key], 'AUDIT_PSEUDONYM_KEY'] as const]),
  ] as const;
  for (const [path, secrets, variable] of needed) {
    if (secrets.some((secret) => secret !== '')) continue;
    const hint = `Set ${variable}, or write one made by: openssl rand -base64 48`;
    report.value(path, 'is empty, and PostgreSQL is shared: nothing is generated beside it', hint);
  }
}

function locationOf(database: string): DatabaseLocation | undefined {
  try {
    return databaseLocation(database);
  } catch {
    return undefined;
  }
}

function checkAddresses({ listen, operations }: Draft, report: Report): void {
  if (!listen || !operations || listen.port === 0 || listen.port !== operations.port) return;
  const wildcards = ['0.0.0.0', '::'];
  const shared =
    listen.host === operations.host || wildcards.includes(listen.host) || wildcards.includes(operations.host);
  if (!shared) return;
  report.value(['operations', 'port'], 'is the port that traffic listens on', 'Write another, such as 9464.');
}

function checkTimeouts({ listen }: Draft, report: Report): void {
  if (!listen || listen.timeouts.headers <= listen.timeouts.request) return;
  const message = 'is longer than listen.timeouts.request, which includes it';
  report.value(['listen', 'timeouts', 'headers'], message, 'Write a shorter one, or a longer request.');
}

function checkLimits({ listen }: Draft, report: Report): void {
  if (!listen) return;
  const { header_bytes, target_bytes } = listen.limits;
  if (target_bytes < header_bytes) return;
  const message = 'is no less than listen.limits.header_bytes, which includes it';
  report.value(['listen', 'limits', 'target_bytes'], message, 'Write a smaller one.');
}

function checkLifetimes({ auth }: Draft, report: Report): void {
  if (!auth || auth.tokens.access_lifetime <= auth.tokens.refresh_lifetime) return;
  const message = 'is longer than auth.tokens.refresh_lifetime';
  report.value(['auth', 'tokens', 'access_lifetime'], message, 'Write a shorter one, such as 30m.');
}

function checkLockout({ auth }: Draft, report: Report): void {
  if (!auth) return;
  const { one_address: one, all_addresses: all, first, longest } = auth.lockout;
  if (first > longest) {
    report.value(['auth', 'lockout', 'first'], 'is longer than auth.lockout.longest', 'Write a shorter one.');
  }
  if (all.capacity <= one.capacity) {
    const message = 'is no more than auth.lockout.one_address: one address could slow down all others';
    report.value(['auth', 'lockout', 'all_addresses'], message, 'Write a higher rate, such as 50/hour.');
  }
}

function checkSecrets({ auth, audit }: Draft, report: Report): void {
  if (!auth) return;
  const lists: ReadonlyArray<readonly [Path, readonly string[]]> = [
    [['auth', 'tokens', 'secrets'], auth.tokens.secrets],
    [['auth', 'api_keys', 'hmac_keys'], auth.api_keys.hmac_keys],
  ];
  const given = [
    ...lists.flatMap(([path, list]) => list.map((secret, index) => ({ secret, path: [...path, index] }))),
    { secret: audit?.pseudonym_key ?? '', path: ['audit', 'pseudonym_key'] },
  ];
  const seen = new Set<string>();
  for (const { secret, path } of given.filter((entry) => entry.secret !== '')) {
    // One secret for two purposes, or twice in a rotation, is one that cannot be taken back.
    const fault = seen.has(secret) ? 'is the same secret as one above it' : secretFault(secret);
    seen.add(secret);
    if (fault) report.value(path, fault, 'Write one made by: openssl rand -base64 48');
  }
}

function checkTokenKeys({ auth }: Draft, report: Report): void {
  if (!auth?.tokens.secrets.some((secret) => secret !== '') || auth.tokens.keys.length === 0) return;
  const hint = 'Remove keys, or leave secrets (SECRET_KEY) empty.';
  report.value(
    ['auth', 'tokens', 'keys'],
    'stands beside auth.tokens.secrets, and only one of them can sign',
    hint,
  );
}

/** The classes that the gateway's own endpoints take from, and what each is for. */
function checkClasses({ classNames, endpoints }: Draft, report: Report): void {
  if (!classNames || !endpoints) return;
  const needed = {
    public: 'unknown paths and public endpoints take from it',
    ...(endpoints.identity && {
      read: '/auth/me takes from it',
      write: '/auth/logout and /auth/change-password take from it',
      admin: 'the endpoints under /admin take from it',
    }),
  };
  for (const [name, why] of Object.entries(needed)) {
    if (classNames.includes(name)) continue;
    const path = ['rate_limits', 'classes'];
    report.value(path, `the class ${name} is missing: ${why}`, `Add ${name}: { rate: 60/minute }.`);
  }
}

function checkRoutes({ routes, classNames, upstreamNames }: Draft, report: Report): void {
  for (const [index, route] of routes.entries()) {
    if (!route) continue;
    const path = ['routes', index];
    checkName([...path, 'upstream'], route.upstream, 'upstream', upstreamNames, report);
    checkName([...path, 'class'], route.class, 'class', classNames, report);
    const fault = routePathFault(route.path);
    if (fault) report.value([...path, 'path'], fault.message, fault.hint);
    if (route.inspect !== 'none' && (route.max_body ?? 0) > inspectedBodyBytesMax) {
      const message = 'is too large for a body that is inspected, since it is held in memory';
      report.value([...path, 'max_body'], message, 'Write at most 16MiB, or inspect: none.');
    }
  }
}

function checkName(
  path: Path,
  word: string,
  kind: string,
  known: readonly string[] | undefined,
  report: Report,
): void {
  if (!known || known.includes(word)) return;
  const section = kind === 'class' ? 'rate_limits.classes' : 'upstreams';
  const near = nearest(word, known);
  const choice = known.length === 0 ? '' : `Write ${either(known)}, or add it`;
  const hint = near ? `Did you mean ${near}?` : `${choice || 'Add it'} under ${section}.`;
  report.value(path, `there is no ${kind}${report.named(path, word)}`, hint);
}

/** No methods are any method: the most specific path wins, and of one path every method has one route. */
function checkRoutesAlike({ routes }: Draft, report: Report): void {
  const taken = new Map<string, Map<string, number>>();
  for (const [index, route] of routes.entries()) {
    if (!route) continue;
    const before = taken.get(route.path) ?? new Map<string, number>();
    taken.set(route.path, before);
    checkAlike(index, route.methods, before, report);
    for (const method of route.methods ?? [anyMethod]) before.set(method, index);
  }
}

const anyMethod = 'every method';

function checkAlike(
  index: number,
  methods: RouteConfig['methods'],
  before: ReadonlyMap<string, number>,
  report: Report,
): void {
  const repeated = methods?.find((method, at) => methods.indexOf(method) !== at);
  if (repeated) report.value(['routes', index, 'methods'], `has ${repeated} twice`, 'Write it once.');
  const clash =
    methods?.find((method) => before.has(method)) ?? (methods ? anyMethod : [...before.keys()][0]);
  const other = clash === undefined ? undefined : before.get(clash);
  if (clash === undefined || other === undefined) return;
  const line = report.lineOf(['routes', other]);
  const message = `is the same path as routes.${other} on line ${line}, which takes ${clash} already`;
  report.value(['routes', index, 'path'], message, 'Give each of them methods of its own, or remove one.');
}

/** Where the gateway answers itself, below the prefix: a path, or a tree of paths. */
const ownPaths = {
  identity: /^\/(?:auth|admin)\/|^\/\.well-known\/jwks\.json$/,
  docs: /^\/docs(?:\/|$)|^\/openapi\.json$/,
  health: /^\/health$/,
} as const;

function checkOwnPaths({ routes, endpoints }: Draft, report: Report): void {
  if (!endpoints) return;
  const prefix = endpoints.prefix === '/' ? '' : endpoints.prefix;
  for (const [index, route] of routes.entries()) {
    if (!route?.path.startsWith(`${prefix}/`)) continue;
    const below = route.path.slice(prefix.length);
    const own = (['identity', 'docs', 'health'] as const).find(
      (key) => endpoints[key] && ownPaths[key].test(below),
    );
    if (own === undefined) continue;
    const hint = `Write another path, move the gateway's with endpoints.prefix, or turn endpoints.${own} off.`;
    report.value(['routes', index, 'path'], 'is where the gateway answers itself', hint);
  }
}

function checkOrigins({ cors }: Draft, report: Report): void {
  if (!cors?.allowed_origins.includes('*') || cors.allowed_origins.length === 1) return;
  const message = 'has * beside other origins, which then mean nothing';
  report.value(['cors', 'allowed_origins'], message, 'Write the origins alone, or * alone.');
}

/** The headers that stand on every response and whose values are the operator's. */
const securityHeaders = [
  'X-Content-Type-Options',
  'X-Frame-Options',
  'X-XSS-Protection',
  'Strict-Transport-Security',
  'Referrer-Policy',
  'Permissions-Policy',
  'Content-Security-Policy',
];

function checkHeaders({ headers }: Draft, report: Report): void {
  const seen = new Set<string>();
  for (const name of Object.keys(headers?.set ?? {})) {
    const path = ['headers', 'set', name];
    if (seen.has(name.toLowerCase()))
      report.key(path, 'is set twice, in another case', 'Remove one of the two.');
    seen.add(name.toLowerCase());
    if (securityHeaders.some((header) => header.toLowerCase() === name.toLowerCase())) continue;
    const near = nearest(name, securityHeaders);
    const hint = near ? `Did you mean ${near}?` : `Write one of ${either(securityHeaders)}.`;
    report.key(path, 'is not a security header', hint);
  }
}
