/** The sinks of the audit log beside its file. Which of them may stand together is in `sink-checks.ts`. */
import { z } from 'zod';
import { withoutRedisPasswords } from '../redis/url.ts';
import { filePath, name, section, text } from './forms.ts';
import { duration, flag, integer, size } from './units.ts';

const spill = section({
  /** A folder of its own. */
  path: filePath('./data/spill-http'),
  max_size: size(1024 ** 2, 1024 ** 4).default(256 * 1024 ** 2),
}).optional();

const buffered = {
  /** Its label in metrics; the type unless given. */
  name: name.optional(),
  /** What waits in memory; then it spills, or is dropped and counted. */
  buffer: size(64 * 1024, 1024 ** 3).default(8 * 1024 ** 2),
  spill,
};

const urlRule = 'a URL such as https://logs.example.com/ingest, without credentials or fragment';
const url = z.string({ error: urlRule }).refine(isUrl, { error: urlRule });

function isUrl(given: string): boolean {
  if (!/^https?:\/\/[\x21-\x7e]{1,2000}$/.test(given) || !URL.canParse(given)) return false;
  const { username, password, hash } = new URL(given);
  return username === '' && password === '' && hash === '';
}

const tokenRule = 'a bearer token without spaces, or empty for none';

export const stdoutSink = section({
  type: z.literal('stdout'),
  name: buffered.name,
  buffer: buffered.buffer,
});

export const httpSink = section({
  type: z.literal('http'),
  url,
  /** Sent as `Authorization: Bearer`; empty is none. */
  token: z
    .string({ error: tokenRule })
    .regex(/^[\x21-\x7e]{0,8192}$/, { error: tokenRule })
    .default(''),
  token_file: filePath('/run/secrets/audit-token').optional(),
  /** Certificates in PEM: who may sign the receiver's, and our own where it asks for one. */
  tls: section({
    ca: filePath('/run/tls/ca.pem').optional(),
    cert: filePath('/run/tls/client.pem').optional(),
    key: filePath('/run/tls/client-key.pem').optional(),
  }).prefault({}),
  /** Plain http to another machine. */
  allow_http: flag.default(false),
  batch: section({
    max_size: size(1024, 64 * 1024 ** 2).default(1024 ** 2),
    max_time: duration(10, 60_000).default(1_000),
  }).prefault({}),
  timeout: duration(100, 300_000).default(10_000),
  ...buffered,
});

const redisRule = 'a URL such as redis://127.0.0.1:6379; REDIS_URL unless given';

export const redisStreamSink = section({
  type: z.literal('redis_stream'),
  url: z.string({ error: redisRule }).default(''),
  stream: text('the key of a stream such as portcullis:audit', 512).default('portcullis:audit'),
  /** About so many entries are kept; the oldest go first. */
  max_length: integer(1_000, 1_000_000_000).default(1_000_000),
  ...buffered,
});

/** Of `GET /admin/audit/stream`. */
export const auditReaders = section({
  /** Streams open at once. */
  max: integer(0, 256).default(8),
}).prefault({});

export type RedisStreamSinkConfig = z.output<typeof redisStreamSink>;
export type OutletConfig = z.output<typeof stdoutSink> | RedisStreamSinkConfig | z.output<typeof httpSink>;

/** What of a sink's configuration may be shown. */
export function withoutSecret(sink: OutletConfig | { readonly type: 'file' }): object {
  if (sink.type === 'http') return { ...sink, token: sink.token !== '' };
  if (sink.type !== 'redis_stream' || sink.url === '') return sink;
  return { ...sink, url: withoutRedisPasswords(sink.url) };
}
