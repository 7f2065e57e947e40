/** `listen`: where callers come in, whom of the peers is believed, and how much and how long one may take. */
import { z } from 'zod';
import { section } from './forms.ts';
import { tls } from './tls-schema.ts';
import { duration, integer, size } from './units.ts';

const hostRule = 'a host or address such as 127.0.0.1, without a port';
export const host = z.string({ error: hostRule }).regex(/^[A-Za-z0-9._:%-]{1,253}$/, { error: hostRule });

const networkRule = 'an address or network such as 10.0.0.0/8 or fd00::/8, not of length 0';
const network = z
  .union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], { error: networkRule })
  // A network of everyone would let every client choose its own address.
  .refine((given) => !/\/0+$/.test(given), { error: networkRule });

const timeouts = section({
  /** The whole head of a request, from the first byte (or from the connection, for its first). */
  headers: duration(100, 600_000).default(10_000),
  /** The whole request, body included. */
  request: duration(100, 3_600_000).default(60_000),
  /** A kept-alive connection without a request. */
  idle: duration(100, 3_600_000).default(30_000),
  /** How long a client may send or take nothing of a body, or lag behind `limits.min_rate`. */
  stall: duration(100, 3_600_000).default(10_000),
});

/** The defaults together fit a sidecar of 256 MiB: see `test/security/memory.test.ts`. */
const limits = section({
  /** Request line and headers together. */
  header_bytes: size(1_024, 1024 ** 2).default(16 * 1024),
  /** Header lines. */
  headers: integer(10, 10_000).default(100),
  /** The request target; longer is 414. */
  target_bytes: size(64, 1024 ** 2).default(8 * 1024),
  /** Connections at once, all together. */
  connections: integer(1, 100_000).default(2_048),
  /** Connections at once from one address (IPv6: one /64); trusted proxies are not counted. */
  connections_per_address: integer(1, 100_000).default(512),
  /** Requests that one connection may have sent without an answer yet, pipelined: done one at a time. */
  pipelined: integer(1, 1_000).default(8),
  /** Bytes a second at which a body has to move, either way; 0B is any. */
  min_rate: size(0, 1024 ** 2).default(256),
});

/** From SIGTERM to the end. */
const drain = section({
  /** Not ready any more, and yet everything is taken: as long as a load balancer takes to notice. */
  delay: duration(0, 600_000).default(0),
  /** Then nothing new is taken, and an unused connection is kept so long, since a request may be on its way there. */
  idle: duration(0, 60_000).default(1_000),
  /** And what is under way may take this long. */
  grace: duration(0, 3_600_000).default(10_000),
});

export const listen = section({
  host: host.default('127.0.0.1'),
  /** 0 takes any free port. */
  port: integer(0, 65_535).default(8000),
  tls: tls.optional(),
  trusted_proxies: z
    .array(network, { error: `a list, each item ${networkRule}` })
    .max(256, { error: 'a list of at most 256 networks' })
    .default([]),
  timeouts: timeouts.prefault({}),
  limits: limits.prefault({}),
  drain: drain.prefault({}),
});
