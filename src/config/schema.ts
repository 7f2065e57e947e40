/**
 * gateway.yaml as a schema: what is written there is parsed here once into typed values (milliseconds, bytes,
 * bucket sizes), and the rest of the program never sees a string. The JSON Schema for editors comes from it too.
 */
import { z } from 'zod';
import { permissions, type RateClass, type RoutePermission } from '../exchange.ts';

const durationUnitsMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const sizeUnits = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;
const ratePeriodsMs = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

/** `30s`, `250ms`, `30m`, `7d` → milliseconds, between `minMs` and `maxMs`. */
export const duration = (minMs: number, maxMs: number) =>
  z.string({ error: 'a duration is written like 250ms, 30s, 15m, 12h or 7d' }).transform((text, context) => {
    const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
    const ms = match
      ? Number(match[1]) * durationUnitsMs[match[2] as keyof typeof durationUnitsMs]
      : Number.NaN;
    if (ms >= minMs && ms <= maxMs) return ms;
    context.addIssue({
      code: 'custom',
      message: match
        ? `must be from ${minMs}ms to ${maxMs}ms; this is ${ms}ms`
        : 'a duration is written like 250ms, 30s, 15m, 12h or 7d',
    });
    return z.NEVER;
  });

/** `64KiB`, `1MiB` → bytes, up to `maxBytes`. */
export const size = (maxBytes: number) =>
  z.string({ error: 'a size is written like 512B, 64KiB or 1MiB' }).transform((text, context) => {
    const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text);
    const bytes = match ? Number(match[1]) * sizeUnits[match[2] as keyof typeof sizeUnits] : Number.NaN;
    if (bytes <= maxBytes) return bytes;
    context.addIssue({
      code: 'custom',
      message: match ? `must be at most ${maxBytes} bytes` : 'a size is written like 512B, 64KiB or 1MiB',
    });
    return z.NEVER;
  });

const rateMessage =
  'a rate is written like 60/minute or 1000/second (second, minute, hour, day), from 1 to 1000000';
/** `60/minute` → units and the milliseconds in which they flow. */
const rate = z.string({ error: rateMessage }).transform((text, context) => {
  const match = /^(\d{1,7})\/(second|minute|hour|day)$/.exec(text);
  const units = Number(match?.[1]);
  if (match && units >= 1 && units <= 1_000_000) {
    return { units, periodMs: ratePeriodsMs[match[2] as keyof typeof ratePeriodsMs] };
  }
  context.addIssue({ code: 'custom', message: rateMessage });
  return z.NEVER;
});

/** A number, or a string of digits as a variable gives it. */
const integer = (min: number, max: number) => {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .union([z.number(), z.string().regex(/^\d{1,15}$/)], { error: message })
    .transform(Number)
    .pipe(z.number().int({ error: message }).min(min, { error: message }).max(max, { error: message }));
};

/** `true`/`false`, or the same words as a variable gives them. */
const flag = z
  .union([z.boolean(), z.enum(['true', 'false'])], { error: 'must be true or false' })
  .transform((value) => value === true || value === 'true');

/** Names that become labels, headers and bucket keys. */
const name = z.string().regex(/^[a-z][a-z0-9_-]{0,62}$/, {
  error: 'a name is 1 to 63 of a-z, 0-9, _ and -, and starts with a letter',
});

const host = z.string().min(1, { error: 'a host or address, such as 127.0.0.1' }).max(253);
const cidr = z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], {
  error: 'an address or network, such as 10.0.0.0/8 or fd00::/8',
});

const listen = z.strictObject({
  host: host.default('127.0.0.1'),
  /** 0 takes any free port. */
  port: integer(0, 65_535).default(8000),
  trusted_proxies: z.array(cidr).max(256).default([]),
  timeouts: z
    .strictObject({
      /** The whole head of a request. */
      headers: duration(100, 600_000).default(10_000),
      /** The whole request, body included. */
      request: duration(100, 3_600_000).default(60_000),
      /** A kept-alive connection without a request. */
      idle: duration(100, 3_600_000).default(30_000),
    })
    .prefault({}),
});

const rateClass = z
  .strictObject({
    rate,
    /** The bucket's capacity; the rate's number unless given. */
    burst: integer(1, 1_000_000).optional(),
  })
  .transform((value) => ({
    capacity: value.burst ?? value.rate.units,
    refillIntervalMs: value.rate.periodMs / value.rate.units,
  }));

const upstream = z.strictObject({
  url: z.string().refine(isUpstreamUrl, {
    error: 'an upstream is written like http://127.0.0.1:8081 or unix:/run/app/app.sock, without a path',
  }),
  /** Sockets kept to this upstream. */
  connections: integer(1, 10_000).default(64),
  /** Requests that may wait for a socket; more are 503. */
  pending: integer(0, 100_000).default(256),
  /** A path at which the upstream describes itself; merged into /openapi.json. */
  openapi: z.string().startsWith('/', { error: 'a path on the upstream, such as /openapi.json' }).optional(),
  timeouts: z
    .strictObject({
      connect: duration(10, 60_000).default(2_000),
      /** Silence before the head of the response. */
      response: duration(10, 3_600_000).default(30_000),
      /** Silence in the middle of its body. */
      idle: duration(10, 3_600_000).default(30_000),
    })
    .prefault({}),
});

function isUpstreamUrl(text: string): boolean {
  if (/^unix:\/[^\0]+$/.test(text)) return true;
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  return (
    url.protocol === 'http:' &&
    url.pathname === '/' &&
    url.search === '' &&
    url.hash === '' &&
    url.username === ''
  );
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'] as const;
const routePermissions = [...permissions, 'any', 'none'] as const satisfies readonly RoutePermission[];

const route = z.strictObject({
  path: z.string().regex(/^\/(?:[A-Za-z0-9._~!$&'()+,;=@%-]+\/?|\/(?!\/))*\*?$/, {
    error: 'a path starts with /; a * may stand at its end only',
  }),
  /** None given means any method. */
  methods: z
    .array(z.enum(methods, { error: `a method is one of ${methods.join(', ')}` }))
    .min(1)
    .optional(),
  upstream: name,
  permission: z.enum(routePermissions, {
    error: `a route needs a permission: ${routePermissions.join(', ')} (none makes it public)`,
  }),
  class: name,
  max_body: size(1024 ** 4).optional(),
  inspect: z.enum(['json', 'none']).default('none'),
  /** Send the caller's own credential on to the upstream. */
  forward_credentials: flag.default(false),
});

const auditSink = z.discriminatedUnion(
  'type',
  [
    z.strictObject({
      type: z.literal('file'),
      path: z.string().min(1),
      /** Force each durable record to the disk itself (fdatasync), not only to the kernel. */
      fsync: flag.default(true),
    }),
  ],
  { error: 'this version writes audit records to `type: file` only' },
);

/** The whole of gateway.yaml. */
export const configSchema = z.strictObject({
  version: z.literal(1, { error: 'must be 1' }),
  listen: listen.prefault({}),
  operations: z
    .strictObject({ host: host.default('127.0.0.1'), port: integer(0, 65_535).default(9464) })
    .prefault({}),
  /** `sqlite:./data/portcullis.db` */
  database: z.string().default('sqlite:./data/portcullis.db'),
  auth: z
    .strictObject({
      tokens: z
        .strictObject({
          /** The first signs, all verify. Empty entries are left out; none at all means a generated one. */
          secrets: z.array(z.string()).max(8).default([]),
          issuer: z.string().min(1).max(256).default('portcullis'),
          audience: z.string().min(1).max(256).default('tool-registry'),
          access_lifetime: duration(60_000, 86_400_000).default(1_800_000),
          refresh_lifetime: duration(60_000, 90 * 86_400_000).default(7 * 86_400_000),
        })
        .prefault({}),
      api_keys: z
        .strictObject({
          prefix: z
            .string()
            .regex(/^[a-z][a-z0-9]{1,14}_$/, { error: 'a prefix is 2 to 15 of a-z and 0-9, then _' })
            .default('mcp_'),
          /** The first makes, all verify. Empty entries are left out; none at all means a generated one. */
          hmac_keys: z.array(z.string()).max(8).default([]),
        })
        .prefault({}),
      passwords: z
        .strictObject({
          memory: size(1024 ** 3).default(19 * 1024 ** 2),
          iterations: integer(1, 100).default(2),
          parallelism: integer(1, 16).default(1),
        })
        .prefault({}),
      /** What failed credentials take from, by client address. */
      failures: rateClass.prefault({ rate: '30/minute' }),
    })
    .prefault({}),
  rate_limits: z.strictObject({
    classes: z.record(name, rateClass),
  }),
  audit: z.strictObject({ sinks: z.array(auditSink).min(1).max(1) }),
  upstreams: z.record(name, upstream).default({}),
  routes: z.array(route).max(10_000).default([]),
  endpoints: z
    .strictObject({
      /** Before the paths of the gateway's own endpoints. */
      prefix: z
        .string()
        .regex(/^\/(?:[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*)?$/, { error: 'a prefix is / or like /gateway' })
        .default('/'),
      identity: flag.default(true),
      docs: flag.default(true),
      health: flag.default(true),
    })
    .prefault({}),
  cors: z
    .strictObject({
      /** A list, or one string with commas; `*` is any origin. */
      allowed_origins: z
        .union([z.string(), z.array(z.string())])
        .transform((value) => (typeof value === 'string' ? value.split(',') : value))
        .transform((origins) => origins.map((origin) => origin.trim()).filter((origin) => origin !== ''))
        .refine((origins) => origins.every(isOrigin), {
          error: 'an origin is written like https://app.example.com, without a path or a slash at the end',
        })
        .default([]),
    })
    .prefault({}),
  headers: z
    .strictObject({
      /** Replaces the value of a security header; an empty string leaves it out. */
      set: z
        .record(z.string().regex(/^[A-Za-z][A-Za-z0-9-]*$/), z.string().regex(/^[\x20-\x7e]*$/))
        .default({}),
    })
    .prefault({}),
  log: z
    .strictObject({
      level: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
    })
    .prefault({}),
});

function isOrigin(text: string): boolean {
  return text === '*' || (URL.canParse(text) && new URL(text).origin === text);
}

/** gateway.yaml, parsed: durations in milliseconds, sizes in bytes, lists never absent. */
export type Config = z.output<typeof configSchema>;
export type RouteConfig = Config['routes'][number];
export type UpstreamConfig = Config['upstreams'][string];
export type PasswordConfig = Config['auth']['passwords'];

/** The class of a name, as the limiter takes it. */
export function rateClassOf(config: Config, className: string): RateClass | undefined {
  const found = config.rate_limits.classes[className];
  return found && { name: className, ...found };
}
