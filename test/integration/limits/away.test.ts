/** Attack 37: Redis killed, stopped, read-only, slow, answering nonsense: each class decides by its policy, and in time. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { startTestGateway } from '../../support/gateway.ts';
import { startRedis, type TestRedis, until } from '../../support/redis.ts';
import { startCountingUpstream } from './gateways.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  redis: \${REDIS_URL}
  replicas: 2
  deadline: 200ms
  classes:
    public: { rate: 100000/minute }
    read: { rate: 1000/minute }
    write: { rate: 1000/minute }
    admin: { rate: 1000/minute }
    share: { rate: 8/hour }
    guarded: { rate: 8/hour, when_redis_is_away: closed }
    lax: { rate: 8/hour, when_redis_is_away: open }
    large: { rate: 5000/hour }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams: { app: { url: "\${REGISTRY_URL}" } }
routes:
  - { path: /share/*, upstream: app, permission: none, class: share }
  - { path: /guarded/*, upstream: app, permission: none, class: guarded }
  - { path: /lax/*, upstream: app, permission: none, class: lax }
  - { path: /large/*, upstream: app, permission: none, class: large }
`;

async function startGateway(t: Test, redisUrl: string) {
  const upstream = await startCountingUpstream(t);
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: upstream.url,
    yaml,
    env: { REDIS_URL: redisUrl },
  });
  t.teardown(() => gateway.close());
  const get = (path: string) => fetch(gateway.trafficUrl + path, { signal: AbortSignal.timeout(20_000) });
  const metric = async (name: string) => {
    const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    const line = text.split('\n').find((one) => one.startsWith(`portcullis_${name} `));
    return Number(line?.split(' ')[1]);
  };
  const source = (name: string) => metric(`rate_limit_decisions_total{source="${name}"}`);
  const isUp = async () => (await metric('rate_limit_store_up')) === 1;
  return { gateway, upstream, get, source, isUp };
}

type Gateway = Awaited<ReturnType<typeof startGateway>>;

/** How many of `count` in turn pass. */
async function passing({ get }: Gateway, count: number, path: string): Promise<number> {
  let passed = 0;
  for (let index = 0; index < count; index += 1) {
    const { status } = await get(path);
    if (status === 200) passed += 1;
    else if (status !== 429) throw new Error(`${path} is answered with ${status}`);
  }
  return passed;
}

/** Each class decides by its policy, whatever is wrong with Redis, and quickly once that is known. */
async function decidesByPolicy(t: Test, gateway: Gateway): Promise<void> {
  const { get, source, isUp } = gateway;
  const startedMs = performance.now();
  t.equal(await passing(gateway, 10, '/share/x'), 4, "local: this replica's half of 8");
  const closed = await get('/guarded/x');
  t.equal(closed.status, 503);
  t.ok(Number(closed.headers.get('retry-after')) >= 1);
  t.match(await closed.json(), { code: 'rate_limit_unavailable', retry_after: 1 });
  t.equal(closed.headers.get('x-ratelimit-limit'), null, 'nobody has counted');
  t.equal(await passing(gateway, 20, '/lax/x'), 20, 'open');
  t.equal((await get('/large/x')).status, 200, 'a class on leases too');
  t.ok(performance.now() - startedMs < 10_000, 'nothing hung');
  t.equal(await isUp(), false);
  t.ok((await source('local')) >= 10);
  t.ok((await source('closed')) >= 1);
  t.ok((await source('open')) >= 20);
}

async function isWellAgain(t: Test, gateway: Gateway): Promise<void> {
  await until(gateway.isUp);
  const before = await gateway.source('redis');
  t.equal((await gateway.get('/guarded/y')).status, 200);
  t.equal(await gateway.source('redis'), before + 1, 'Redis decides again, and nothing was started anew');
}

const troubles: ReadonlyArray<{
  readonly what: string;
  readonly begin: (redis: TestRedis) => unknown;
  readonly end: (redis: TestRedis) => unknown;
}> = [
  { what: 'killed', begin: (redis) => redis.kill(), end: (redis) => redis.start() },
  { what: 'stopped', begin: (redis) => redis.freeze(), end: (redis) => redis.thaw() },
  {
    what: 'read-only, for want of replicas',
    begin: (redis) => redis.command('CONFIG', 'SET', 'min-replicas-to-write', 1),
    end: (redis) => redis.command('CONFIG', 'SET', 'min-replicas-to-write', 0),
  },
  {
    what: 'read-only, as a replica of nobody',
    begin: (redis) => redis.command('REPLICAOF', '127.0.0.1', 9),
    end: (redis) => redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  {
    what: 'full',
    begin: (redis) => redis.command('CONFIG', 'SET', 'maxmemory', 1),
    end: (redis) => redis.command('CONFIG', 'SET', 'maxmemory', 0),
  },
  {
    what: 'forbidding scripts',
    begin: (redis) => redis.command('ACL', 'SETUSER', 'default', '-@scripting'),
    end: (redis) => redis.command('ACL', 'SETUSER', 'default', '+@scripting'),
  },
];

for (const { what, begin, end } of troubles)
  t.test(`Redis ${what}: every class decides by its policy, and it recovers by itself`, async (t) => {
    const redis = await startRedis(t);
    const gateway = await startGateway(t, redis.url);
    t.equal(await gateway.isUp(), true);
    t.equal((await gateway.get('/guarded/x')).status, 200);
    await begin(redis);
    await until(async () => (await gateway.get('/guarded/x')).status === 503);
    await until(async () => !(await gateway.isUp()));
    await decidesByPolicy(t, gateway);
    await end(redis);
    await isWellAgain(t, gateway);
  });

t.test('Redis 2 s slow: the deadline decides, nobody asks again meanwhile, and it recovers', async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, redis.url);
  t.equal((await gateway.get('/guarded/x')).status, 200);
  void redis.command('DEBUG', 'SLEEP', 2);
  const startedMs = performance.now();
  // The command is on its way yet.
  await until(async () => (await gateway.get('/guarded/x')).status === 503);
  const first = await Promise.all(Array.from({ length: 20 }, () => gateway.get('/lax/x')));
  t.ok(first.every(({ status }) => status === 200));
  t.ok(performance.now() - startedMs < 1_900, 'nobody waited for Redis');
  await decidesByPolicy(t, gateway);
  await isWellAgain(t, gateway);
});

t.test('that Redis was lost and found is on record, once for each time', async (t) => {
  const redis = await startRedis(t);
  const { gateway, isUp } = await startGateway(t, redis.url);
  const events = async () => {
    await gateway.auditLog.flush();
    return readFileSync(gateway.auditPath, 'utf8')
      .split('\n')
      .flatMap((line) => /"event":"(redis_[a-z]+)"/.exec(line)?.[1] ?? []);
  };
  t.strictSame(await events(), [], 'nothing is found that was not lost');
  await redis.kill();
  await until(async () => (await events()).length === 1);
  await redis.start();
  await until(isUp);
  await until(async () => (await events()).length === 2);
  t.strictSame(await events(), ['redis_lost', 'redis_found']);
});

t.test('a flushed script cache is no outage', async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, redis.url);
  for (let round = 0; round < 4; round += 1) {
    t.equal((await gateway.get('/share/x')).status, 200);
    await redis.command('SCRIPT', 'FLUSH');
  }
  t.equal(await gateway.source('redis'), 4);
});

t.test('an outage begins where Redis left off, not with a full bucket', async (t) => {
  const redis = await startRedis(t);
  const gateway = await startGateway(t, redis.url);
  t.equal(await passing(gateway, 6, '/share/x'), 6);
  await redis.kill();
  await until(async () => !(await gateway.isUp()));
  t.equal(await passing(gateway, 10, '/share/x'), 1, 'half of the 2 that were left');
});

t.test('a gateway starts while Redis is away, and counts there once it has come', async (t) => {
  const redis = await startRedis(t);
  await redis.kill();
  const gateway = await startGateway(t, redis.url);
  await decidesByPolicy(t, gateway);
  t.equal((await fetch(`${gateway.gateway.operationsUrl}/readyz`)).status, 200, 'ready without Redis');
  await redis.start();
  await isWellAgain(t, gateway);
});

t.test('a gateway starts while Redis hangs', async (t) => {
  const redis = await startRedis(t);
  redis.freeze();
  const gateway = await startGateway(t, redis.url);
  await decidesByPolicy(t, gateway);
  redis.thaw();
  await isWellAgain(t, gateway);
});

/** What speaks RESP and says something else: no Redis at all. */
async function startOddServer(t: Test, answer: (command: string) => string) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (data) => {
      for (const command of data
        .toString('latin1')
        .split(/\*\d+\r\n/)
        .slice(1)) {
        const [, name = ''] = command.split('\r\n');
        socket.write(answer(name.toUpperCase()));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `redis://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const info = 'redis_version:7.0.0\r\nrole:master\r\nloading:0';
const handshake: Readonly<Record<string, string>> = {
  HELLO: '-ERR unknown command HELLO\r\n',
  INFO: `$${info.length}\r\n${info}\r\n`,
  PING: '+PONG\r\n',
};

for (const [what, reply] of [
  ['words', '+certainly\r\n'],
  ['a number', ':1\r\n'],
  ['an empty list', '*0\r\n'],
  ['six texts', `*6\r\n${'$1\r\nx\r\n'.repeat(6)}`],
  ['numbers out of bounds', `*6\r\n${':9007199254740993\r\n'.repeat(6)}`],
  ['more admitted than asked', '*6\r\n:7\r\n:0\r\n:0\r\n:0\r\n:0\r\n:0\r\n'],
  ['null', '$-1\r\n'],
  ['an error', '-WAT what is that\r\n'],
  ['no RESP at all', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
] as const)
  t.test(`a Redis that answers ${what}: the policy, and no crash`, async (t) => {
    const url = await startOddServer(t, (name) => handshake[name] ?? (name === 'CLIENT' ? '+OK\r\n' : reply));
    const gateway = await startGateway(t, url);
    await decidesByPolicy(t, gateway);
  });
