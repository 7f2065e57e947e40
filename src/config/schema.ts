/**
 * gateway.yaml as a schema: what is written there is parsed here once into typed values (milliseconds, bytes,
 * bucket sizes), and the rest of the program never sees a string. The JSON Schema for editors comes from it too.
 *
 * An error here is a noun phrase that fits "must be …" and "Write …". What needs two places of the file to be
 * judged is in `checks.ts`.
 */
import { z } from 'zod';
import { type PartitionedClass, permissions, type RoutePermission } from '../exchange.ts';
import { audit } from './audit-schema.ts';
import { partition } from './class-schema.ts';
import { credentialCache, stalenessMax } from './credential-cache-schema.ts';
import { filePath, name, named, oneOf, section, text } from './forms.ts';
import { contentTypes, inspection } from './inspection-schema.ts';
import { issuers } from './issuer-schema.ts';
import { host, listen } from './listen-schema.ts';
import { deadline, redis, replicas, whenRedisIsAway } from './redis-schema.ts';
import { streamKeys, websockets } from './stream-schema.ts';
import { certificates } from './tls-schema.ts';
import { tracing } from './tracing-schema.ts';
import { duration, flag, integer, type Rate, rate, size } from './units.ts';
import { upstream } from './upstream-schema.ts';
import { workers } from './worker-schema.ts';

const bucketShape = {
  rate,
  /** The bucket's capacity; the rate's number unless given. */
  burst: integer(1, 1_000_000).optional(),
};

interface GivenBucket {
  readonly rate: Rate;
  readonly burst?: number | undefined;
}

/** A bucket that each gateway has for itself, such as that of failures, whose partition is fixed. */
const bucket = section(bucketShape).transform(bucketOf);

/** A class that routes name, whose buckets all gateways share where there is a Redis. */
const rateClass = section({ ...bucketShape, partition, when_redis_is_away: whenRedisIsAway }).transform(
  ({ when_redis_is_away, partition, ...given }, context) => ({
    ...bucketOf(given, context),
    partition,
    whenRedisIsAway: when_redis_is_away,
  }),
);

function bucketOf(
  given: GivenBucket,
  context: z.RefinementCtx,
): { capacity: number; refillUnits: number; refillPeriodUs: number } {
  const capacity = given.burst ?? given.rate.units;
  const { refillUnits, refillPeriodUs } = lowestTerms(given.rate.units, given.rate.periodMs * 1_000);
  if (capacity * refillPeriodUs <= ticksMax) return { capacity, refillUnits, refillPeriodUs };
  const fewer = Math.floor(ticksMax / refillPeriodUs);
  context.addIssue({
    code: 'custom',
    message: `a rate with a burst of at most ${fewer}, to be counted exactly`,
  });
  return z.NEVER;
}

/** Buckets count in whole ticks, and a debt with a cost on top of it must still be a safe integer. */
const ticksMax = 2 ** 52;

/** The same rate without a common divisor. */
function lowestTerms(units: number, periodUs: number): { refillUnits: number; refillPeriodUs: number } {
  let [divisor, rest] = [units, periodUs];
  while (rest !== 0) [divisor, rest] = [rest, divisor % rest];
  return { refillUnits: units / divisor, refillPeriodUs: periodUs / divisor };
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'] as const;
const methodsRule = `a list of methods such as [GET, HEAD]; without the key a route takes any`;
const routePermissions = [...permissions, 'any', 'none'] as const satisfies readonly RoutePermission[];

const route = section({
  /** What it may look like is in `route-path.ts`, which says what exactly is wrong with it. */
  path: z.string({ error: 'a path such as /tools or /tools/*' }),
  /** None given means any method. */
  methods: z
    .array(oneOf(methods), { error: methodsRule })
    .min(1, { error: methodsRule })
    .max(methods.length, { error: methodsRule })
    .optional(),
  upstream: name,
  permission: oneOf(routePermissions, ' (any is any verified caller, none makes the route public)'),
  class: name,
  /** Units of the class that a request takes; what it may be at most is its class's capacity. */
  cost: integer(1, 1_000_000).default(1),
  max_body: size(0, 1024 ** 4).optional(),
  /** `none`, `json`, or the name of a set under `inspection`. */
  inspect: name.default('none'),
  content_types: contentTypes.optional(),
  /** A file with a JSON Schema (draft 2020-12) that bodies have to meet. */
  schema: filePath('schemas/tool.json').optional(),
  /** Send the caller's own credential on to the upstream. */
  forward_credentials: flag.default(false),
  /** Send X-Auth-Assertion, signed, by which the upstream knows that a request came through here. */
  assertion: flag.default(false),
  ...streamKeys,
});

const databaseRule =
  'a URL such as sqlite:./data/portcullis.db or postgres://user:password@host:5432/database, or none';
const secretsRule = 'a list of up to 8 secrets, of which the first is the newest';
const secrets = z
  .array(z.string({ error: 'a secret of at least 32 bytes' }), { error: secretsRule })
  .max(8, { error: secretsRule })
  .default([]);

const keysRule = 'a list of up to 8 keys such as [{ file: token.pem }], of which the first signs';

const auth = section({
  tokens: section({
    /** The first signs, all verify. Empty entries do not count; without any, an embedded database has one generated. */
    secrets,
    /** In place of secrets: PEM files (PKCS#8; Ed25519, P-256 or RSA). The first signs, all verify. */
    keys: z
      .array(section({ file: filePath('/run/keys/token.pem') }), { error: keysRule })
      .max(8, { error: keysRule })
      .default([]),
    issuer: text('a name such as portcullis', 256).default('portcullis'),
    audience: text('a name such as tool-registry', 256).default('tool-registry'),
    access_lifetime: duration(60_000, 86_400_000).default(1_800_000),
    refresh_lifetime: duration(60_000, 90 * 86_400_000).default(7 * 86_400_000),
  }).prefault({}),
  /** Whose tokens are taken beside our own. */
  issuers,
  /** Whom certificates of clients stand for. */
  certificates: certificates.optional(),
  api_keys: section({
    prefix: z
      .string({ error: 'a prefix such as mcp_' })
      .regex(/^[a-z][a-z0-9]{1,14}_$/, { error: '2 to 15 of a-z and 0-9, then _, such as mcp_' })
      .default('mcp_'),
    /** The first seals, all verify. Empty entries do not count; without any, an embedded database has one generated. */
    hmac_keys: secrets,
  }).prefault({}),
  passwords: section({
    /** Argon2 needs 8 KiB a lane: the least here is enough for the most `parallelism` can be. */
    memory: size(128 * 1024, 1024 ** 3).default(19 * 1024 ** 2),
    iterations: integer(1, 100).default(2),
    parallelism: integer(1, 16).default(1),
  }).prefault({}),
  /** What failed credentials take from, by client address. */
  failures: bucket.prefault({ rate: '30/minute' }),
  /** What wrong passwords take from, by username. */
  lockout: section({
    /** One username from one address; when it is empty, that address is locked out of that username. */
    one_address: bucket.prefault({ rate: '10/hour' }),
    /** One username from all addresses; when it is empty, addresses new to that user wait before they may try. */
    all_addresses: bucket.prefault({ rate: '50/hour' }),
    /** The first lock; each that follows takes twice as long, up to `longest`. */
    first: duration(1_000, 86_400_000).default(60_000),
    longest: duration(1_000, 86_400_000).default(3_600_000),
    new_address_wait: duration(1_000, 600_000).default(30_000),
  }).prefault({}),
  cache: credentialCache,
  staleness_max: stalenessMax,
});

const originRule = 'an origin such as https://app.example.com, without a path, or *';
const originsRule = `a list, or one text with commas, each item ${originRule}`;

/** The whole of gateway.yaml. */
export const configSchema = section({
  version: z.literal(1, { error: '1' }),
  listen: listen.prefault({}),
  operations: section({ host: host.default('127.0.0.1'), port: integer(0, 65_535).default(9464) }).prefault(
    {},
  ),
  /** `sqlite:./data/portcullis.db` or `postgres://…`; what it may say is in `sql/url.ts`. */
  database: z.string({ error: databaseRule }).default('sqlite:./data/portcullis.db'),
  auth: auth.prefault({}),
  rate_limits: section({
    redis,
    replicas,
    deadline,
    classes: named('rate classes such as read: { rate: 60/minute }', rateClass),
  }),
  audit,
  upstreams: named('upstreams such as registry: { url: http://127.0.0.1:8081 }', upstream).default({}),
  routes: z
    .array(route, { error: 'a list of routes' })
    .max(10_000, { error: 'a list of at most 10000 routes' })
    .default([]),
  inspection,
  websockets,
  endpoints: section({
    /** Before the paths of the gateway's own endpoints. */
    prefix: z
      .string({ error: '/ or a path such as /gateway' })
      .regex(/^\/(?:[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*)?$/, { error: '/ or a path such as /gateway' })
      .default('/'),
    identity: flag.default(true),
    docs: flag.default(true),
    health: flag.default(true),
  }).prefault({}),
  cors: section({
    /** A list, or one string with commas; `*` is any origin. */
    allowed_origins: z
      .union([z.string(), z.array(z.string())], { error: originsRule })
      .transform((given) =>
        [given]
          .flat()
          .flatMap((item) => item.split(','))
          .map((origin) => origin.trim())
          .filter((origin) => origin !== ''),
      )
      .refine((origins) => origins.every(isOrigin), { error: originsRule })
      .default([]),
  }).prefault({}),
  headers: section({
    /** Replaces the value of a security header; an empty string leaves it out. */
    set: z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, { error: 'the name of a header' }),
        z
          .string({ error: 'the value of a header' })
          .regex(/^[\x20-\x7e]*$/, { error: 'the value of a header, in printable ASCII' })
          .max(4_096, { error: 'the value of a header, at most 4096 characters' }),
        { error: 'a map of security headers such as X-Frame-Options: DENY' },
      )
      .default({}),
  }).prefault({}),
  tracing,
  log: section({
    level: oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
  }).prefault({}),
  workers,
});

function isOrigin(given: string): boolean {
  if (given === '*') return true;
  return /^https?:/.test(given) && URL.canParse(given) && new URL(given).origin === given;
}

/** gateway.yaml, parsed: durations in milliseconds, sizes in bytes, lists never absent. */
export type Config = z.output<typeof configSchema>;
export type RouteConfig = Config['routes'][number];
export type RateClassConfig = Config['rate_limits']['classes'][string];
export type PasswordConfig = Config['auth']['passwords'];

/** The class of a name, as the limiter takes it. */
export function rateClassOf(config: Config, className: string): PartitionedClass | undefined {
  const { classes } = config.rate_limits;
  const found = Object.hasOwn(classes, className) ? classes[className] : undefined;
  if (found === undefined) return undefined;
  const { whenRedisIsAway: _, ...bucketSize } = found;
  return { name: className, ...bucketSize };
}
