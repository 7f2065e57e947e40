/** `upstreams`: where the service behind a route is, and what is thought of an address that fails. */
import { z } from 'zod';
import { section } from './forms.ts';
import { duration, integer } from './units.ts';

const urlRule =
  'a URL such as http://127.0.0.1:8081 or unix:/run/app/app.sock, without a path (https is not in this version)';
const url = z.string({ error: urlRule }).refine(isUpstreamUrl, { error: urlRule });
const urlsRule = 'a list of 1 to 32 URLs, none of them twice';

function isUpstreamUrl(given: string): boolean {
  // The kernel takes 107 bytes of path.
  if (/^unix:\/\P{Cc}+$/u.test(given)) return Buffer.byteLength(given) <= 'unix:'.length + 107;
  // As an operator would write it: a parser that repairs (`http:/x`, `http://a\b`) is not asked.
  if (!/^http:\/\/[A-Za-z0-9.:[\]_-]+\/?$/.test(given) || !URL.canParse(given)) return false;
  return new URL(given).pathname === '/';
}

const pathRule = (example: string) => `a path on the upstream such as ${example}`;
const path = (example: string) =>
  z.string({ error: pathRule(example) }).regex(/^\/[\x21-\x7e]{0,1023}$/, { error: pathRule(example) });

/** Active checks; without this section there are none. */
const health = section({
  /** Asked with GET; 2xx and 3xx are well. */
  path: path('/health'),
  /** A fifth more or less, so that replicas do not ask in step. */
  interval: duration(100, 3_600_000).default(5_000),
  timeout: duration(10, 60_000).default(1_000),
  /** Answers in a row. */
  healthy: integer(1, 100).default(2),
  unhealthy: integer(1, 100).default(3),
});

export const upstream = section({
  /** One of these two. */
  url: url.optional(),
  urls: z
    .array(url, { error: urlsRule })
    .min(1, { error: urlsRule })
    .max(32, { error: urlsRule })
    .refine((given) => new Set(given).size === given.length, { error: urlsRule })
    .optional(),
  /** Sockets kept to each address. */
  connections: integer(1, 10_000).default(64),
  /** Requests that may wait for a socket; more are 503. */
  pending: integer(0, 100_000).default(256),
  /** A path at which the upstream describes itself; merged into /openapi.json. */
  openapi: path('/openapi.json').optional(),
  timeouts: section({
    connect: duration(10, 60_000).default(2_000),
    /** Silence before the head of the response. */
    response: duration(10, 3_600_000).default(30_000),
    /** Silence in the middle of its body. */
    idle: duration(10, 3_600_000).default(30_000),
  }).prefault({}),
  health: health.optional(),
  /** Of several addresses, one that has failed so often in a row is left out for a time; 0 is never. */
  ejection: section({
    failures: integer(0, 1_000).default(3),
    time: duration(10, 3_600_000).default(10_000),
  }).prefault({}),
  /** After so many requests in a row that found no connection or silence, nothing is sent for a time (503); 0 is never. */
  breaker: section({
    failures: integer(0, 10_000).default(10),
    time: duration(10, 3_600_000).default(1_000),
  }).prefault({}),
}).transform(({ url: one, urls = [], ...others }, context) => {
  if ((one === undefined) === (urls.length === 0)) {
    context.addIssue({ code: 'custom', message: 'a map with either url or urls' });
    return z.NEVER;
  }
  return { ...others, urls: one === undefined ? urls : [one] };
});
