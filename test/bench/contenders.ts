/** Who is driven, with what. */
import type { BenchRequest, Contender } from './load.ts';
import type { Bench, Peer, Portcullis } from './peers.ts';

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
  readonly portcullis: Portcullis;
  readonly withRedis: Portcullis;
  readonly bare: Peer;
}

/** Starts all of them, side by side. */
export async function startField(bench: Bench, { keys, routes }: Sizes): Promise<Field> {
  await bench.startTools();
  const bare = await bench.startBare();
  const main = await bench.startPortcullis('embedded');
  const withRedis = await bench.startPortcullis('redis', { redis: true });
  const many = await bench.startPortcullis('many', { keys, routes });
  // Few enough places that whoever comes round again is new again.
  const cold = await bench.startPortcullis('cold', { keys: 20_000, cacheEntries: 1_000 });
  const nginx = await bench.startNginx(main.key, false);
  const lua = await bench.startNginx(main.key, true);
  const fastify = await bench.startFastify(main.key, false);
  const fastifyRedis = await bench.startFastify(main.key, true);
  const [token = '', ...tokens] = bench.tokens(5_001);

  const contenders = [
    passed(names.bare, bare, [byKey(main.key)]),
    passed(names.key, main, [byKey(main.key)]),
    passed(names.jwt, main, [byToken(token)]),
    passed(names.assertion, main, [byKey(main.key, '/asserted/4fXk2m9Qa1Zr')]),
    passed(names.leases, withRedis, [byKey(withRedis.key)]),
    passed(names.asked, withRedis, [byKey(withRedis.key, '/asked/4fXk2m9Qa1Zr')]),
    passed(names.nginx, nginx, [byKey(main.key)]),
    passed(names.lua, lua, [byKey(main.key)]),
    passed(names.fastify, fastify, [byKey(main.key)]),
    passed(names.fastifyRedis, fastifyRedis, [byKey(main.key)]),
    // From as many lines as the other, so that wrk has the same to do.
    passed(
      names.few,
      main,
      many.keys.map(() => byKey(main.key)),
    ),
    passed(
      names.many,
      many,
      many.keys.map((key, index) => byKey(key, `/many/${(index * 7) % routes}/4fXk2m9Qa1Zr`)),
    ),
    passed(names.newConnection, cold, [withHeader(byKey(cold.key), 'Connection', 'close')]),
    passed(
      names.firstKey,
      cold,
      cold.keys.slice(1).map((key) => byKey(key)),
    ),
    passed(
      names.firstJwt,
      cold,
      tokens.map((one) => byToken(one)),
    ),
    { name: names.unauthenticated, peer: cold, requests: [{ path: '/tools/4fXk2m9Qa1Zr' }], status: 401 },
    { name: names.limited, peer: cold, requests: [byKey(cold.key, '/limited/4fXk2m9Qa1Zr')], status: 429 },
    { name: names.unknown, peer: cold, requests: [byKey(cold.key, '/nowhere/4fXk2m9Qa1Zr')], status: 404 },
    {
      name: names.tooLarge,
      peer: cold,
      requests: [{ ...byKey(cold.key, '/small/4fXk2m9Qa1Zr'), method: 'POST', bytes: 2_048 }],
      status: 413,
    },
  ];
  return { contenders, portcullis: main, withRedis, bare };
}

function passed(name: string, peer: Peer, requests: readonly BenchRequest[]): Contender {
  return { name, peer, requests, status: 200 };
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
