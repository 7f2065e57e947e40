/** Who is driven, with what. */
import type { BenchRequest, Contender } from './load.ts';
import type { Bench, Peer, Portcullis, PortcullisOptions } from './peers.ts';

export const names = {
  bare: 'bare node:http + undici',
  key: 'Portcullis: API key',
  jwt: 'Portcullis: JWT',
  assertion: 'Portcullis: API key, assertion',
  leases: 'Portcullis: API key, Redis, leases',
  asked: 'Portcullis: API key, Redis, a round trip',
  nginx: 'nginx: key, limit, headers, log',
  lua: 'nginx + Lua + Redis bucket',
  fastify: 'Fastify: proxy, rate-limit, helmet',
  fastifyRedis: 'Fastify, Redis',
  few: 'Portcullis: one key, ten routes',
  many: 'Portcullis: many keys, 1,000 routes',
  newConnection: 'passed, a connection each',
  firstKey: 'first-seen API key',
  firstJwt: 'first-seen JWT (EdDSA)',
  unauthenticated: '401',
  limited: '429',
  unknown: '404',
  tooLarge: '413, a connection each',
} as const;

export interface Sizes {
  /** Keys in the large database. */
  readonly keys: number;
  readonly routes: number;
}

export interface Field {
  readonly contenders: readonly Contender[];
  /** Embedded, of one key. */
  portcullis(): Promise<Portcullis>;
  withRedis(): Promise<Portcullis>;
}

export interface FieldOptions extends Sizes {
  /** Names of those that take part; all of them unless said. */
  readonly only?: readonly string[];
  /** Whose sources Portcullis runs; here, unless said. */
  readonly checkout?: string;
}

type Entry = readonly [name: string, start: () => Promise<Omit<Contender, 'name'>>];

/** Starts those that take part, side by side. The tools have to be there. */
export async function startField(bench: Bench, options: FieldOptions): Promise<Field> {
  const { keys, routes, checkout, only } = options;
  const started = (name: string, more: PortcullisOptions = {}) =>
    lazily(() =>
      bench.startPortcullis(
        checkout === undefined ? name : `${name}-before`,
        checkout === undefined ? more : { ...more, checkout },
      ),
    );
  const bare = lazily(() => bench.startBare());
  const main = started('embedded');
  const withRedis = started('redis', { redis: true });
  const many = started('many', { keys, routes });
  // Few enough places that whoever comes round again is new again.
  const cold = started('cold', { keys: 20_000, cacheEntries: 1_000 });
  const [token = '', ...tokens] = bench.tokens(5_001);
  const key = async () => (await main()).key;
  const plain = { path: '/tools/4fXk2m9Qa1Zr' };

  const entries: readonly Entry[] = [
    [names.bare, async () => passed(await bare(), [byKey(await key())])],
    [names.key, async () => passed(await main(), [byKey(await key())])],
    [names.jwt, async () => passed(await main(), [byToken(token)])],
    [names.assertion, async () => passed(await main(), [byKey(await key(), '/asserted/4fXk2m9Qa1Zr')])],
    [names.leases, async () => passed(await withRedis(), [byKey((await withRedis()).key)])],
    [
      names.asked,
      async () => passed(await withRedis(), [byKey((await withRedis()).key, '/asked/4fXk2m9Qa1Zr')]),
    ],
    [names.nginx, async () => passed(await bench.startNginx(await key(), false), [byKey(await key())])],
    [names.lua, async () => passed(await bench.startNginx(await key(), true), [byKey(await key())])],
    [names.fastify, async () => passed(await bench.startFastify(await key(), false), [byKey(await key())])],
    [
      names.fastifyRedis,
      async () => passed(await bench.startFastify(await key(), true), [byKey(await key())]),
    ],
    [
      names.few,
      async () => {
        const request = byKey(await key());
        // As many lines as the other, so that wrk has the same to do.
        return passed(await main(), Array.from({ length: keys }).fill(request) as BenchRequest[]);
      },
    ],
    [
      names.many,
      async () => {
        const path = (index: number) => `/many/${(index * 7) % routes}/4fXk2m9Qa1Zr`;
        // As many as are meant, which is as many as there are buckets: one more, and in turn each takes another's place.
        const requests = (await many()).keys.slice(0, keys).map((one, index) => byKey(one, path(index)));
        return passed(await many(), requests);
      },
    ],
    [
      names.newConnection,
      async () => passed(await cold(), [withHeader(byKey((await cold()).key), 'Connection', 'close')]),
    ],
    [
      names.firstKey,
      async () =>
        passed(
          await cold(),
          (await cold()).keys.slice(1).map((one) => byKey(one)),
        ),
    ],
    [
      names.firstJwt,
      async () =>
        passed(
          await cold(),
          tokens.map((one) => byToken(one)),
        ),
    ],
    [names.unauthenticated, async () => ({ peer: await cold(), requests: [plain], status: 401 })],
    [
      names.limited,
      async () => ({
        peer: await cold(),
        requests: [byKey((await cold()).key, '/limited/4fXk2m9Qa1Zr')],
        status: 429,
      }),
    ],
    [
      names.unknown,
      async () => ({
        peer: await cold(),
        requests: [byKey((await cold()).key, '/nowhere/4fXk2m9Qa1Zr')],
        status: 404,
      }),
    ],
    [
      names.tooLarge,
      async () => ({
        peer: await cold(),
        requests: [{ ...byKey((await cold()).key, '/small/4fXk2m9Qa1Zr'), method: 'POST', bytes: 2_048 }],
        status: 413,
      }),
    ],
  ];
  const contenders: Contender[] = [];
  for (const [name, start] of entries)
    if (only === undefined || only.includes(name)) contenders.push({ name, ...(await start()) });
  return { contenders, portcullis: main, withRedis };
}

/** By the words for them above, such as `unauthenticated`, or by their names. @throws for a word that is neither */
export function namesWith(words: readonly string[]): string[] {
  const found = words.flatMap((word) => {
    const holding = Object.entries(names).filter(([short, name]) => short === word || name === word);
    if (holding.length === 0) throw new Error(`${word} is none of ${Object.keys(names).join(', ')}`);
    return holding.map(([, name]) => name);
  });
  return [...new Set(found)];
}

/** Once, when it is first asked for. */
function lazily<T>(start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined;
  return () => {
    started ??= start();
    return started;
  };
}

function passed(peer: Peer, requests: readonly BenchRequest[]): Omit<Contender, 'name'> {
  return { peer, requests, status: 200 };
}

function byKey(key: string, path = '/tools/4fXk2m9Qa1Zr'): BenchRequest {
  return { path, headers: { 'X-API-Key': key } };
}

function byToken(token: string): BenchRequest {
  return { path: '/tools/4fXk2m9Qa1Zr', headers: { Authorization: `Bearer ${token}` } };
}

function withHeader(request: BenchRequest, name: string, value: string): BenchRequest {
  return { ...request, headers: { ...request.headers, [name]: value } };
}
