/** Standalone with TLS and an ACL user, behind Sentinels in a failover, and a cluster whose slots move and whose nodes die. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import {
  makeTlsFiles,
  startRedis,
  startRedisCluster,
  startRedisSentinels,
  type TestRedis,
  until,
} from '../../support/redis.ts';
import { startGateways } from './gateways.ts';

const limits = '  deadline: 1s';
const perHour = (count: number, policy = 'closed') =>
  `    small: { rate: ${count}/hour, when_redis_is_away: ${policy} }\n    large: { rate: 5000/hour, when_redis_is_away: ${policy} }`;

type Gateways = Awaited<ReturnType<typeof startGateways>>;

/** All at once, spread over all gateways. */
async function flood({ get, urls }: Gateways, count: number, path = '/small/x'): Promise<number[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => (await get(index % urls.length, path)).status),
  );
}

async function areUp({ urls, metric }: Gateways): Promise<boolean> {
  const states = await Promise.all(urls.map((_, index) => metric(index, 'rate_limit_store_up ')));
  return states.every((state) => state === 1);
}

t.test('TLS and an ACL user that may do no more than it needs', async (t) => {
  const files = makeTlsFiles(t);
  const acl =
    'user gateway on >s3cret ~portcullis:* resetchannels -@all +@connection +info +eval +evalsha +time +get +set +del';
  const redis = await startRedis(t, { tls: files, settings: [acl] });
  const url = `rediss://gateway:s3cret@127.0.0.1:${redis.port}?ca=${encodeURIComponent(files.ca)}`;
  const gateways = await startGateways(t, { count: 2, redis: url, classes: perHour(10), limits });
  await flood(gateways, 40);
  t.equal(gateways.upstream.count('small'), 10);
  t.equal((await gateways.get(0, '/large/x')).status, 200);
  t.ok(gateways.programs.every((program) => !program.stderr().includes('s3cret')));
});

t.test(
  'a failover by Sentinels: decided by policy meanwhile, then by the new master, with nothing started anew',
  async (t) => {
    const { url, master, replica, promoted } = await startRedisSentinels(t);
    const gateways = await startGateways(t, { count: 2, redis: url, classes: perHour(10), limits });
    await flood(gateways, 4);
    t.equal(gateways.upstream.count('small'), 4);
    await until(async () => Number(await replica.command('DBSIZE')) > 0);
    await delay(200);
    await master.kill();
    await until(async () => !(await areUp(gateways)));
    t.strictSame(await flood(gateways, 2), [503, 503], 'closed');
    await promoted(replica);
    await until(() => areUp(gateways));
    await flood(gateways, 40);
    t.equal(gateways.upstream.count('small'), 10, 'the replica knew what had been taken');
    await master.start();
  },
);

t.test('a failover that loses all that was written adds one capacity at most', async (t) => {
  const { url, master, replica, promoted } = await startRedisSentinels(t);
  const gateways = await startGateways(t, { count: 2, redis: url, classes: perHour(10), limits });
  await flood(gateways, 40);
  t.equal(gateways.upstream.count('small'), 10);
  await replica.command('REPLICAOF', 'NO', 'ONE');
  await replica.command('FLUSHALL');
  await replica.command('REPLICAOF', '127.0.0.1', 9);
  await master.kill();
  await promoted(replica).catch(() => replica.command('REPLICAOF', 'NO', 'ONE'));
  await until(() => areUp(gateways), 60_000);
  await flood(gateways, 40);
  const count = gateways.upstream.count('small');
  t.ok(count <= 20, `${count}`);
});

t.test('three nodes: exact while slots move, with keys in them', async (t) => {
  const cluster = await startRedisCluster(t);
  const gateways = await startGateways(t, { count: 2, redis: cluster.url, classes: perHour(60), limits });
  t.ok((await flood(gateways, 20)).every((status) => status === 200));
  const slots: number[] = [];
  for (const node of cluster.nodes) {
    for (const key of (await node.command('KEYS', '*small*')) as string[])
      slots.push(Number(await node.command('CLUSTER', 'KEYSLOT', key)));
  }
  t.ok(slots.length > 0);
  let moving = true;
  const asked = (async () => {
    while (moving) {
      t.notOk((await flood(gateways, 4)).includes(503), 'a slot that moves is no outage');
      await delay(100);
    }
  })();
  for (const slot of slots) {
    const from = await cluster.nodeOf(slot);
    const to = cluster.nodes.find((node) => node !== from) as TestRedis;
    await cluster.moveSlot(slot, to);
  }
  moving = false;
  await asked;
  await flood(gateways, 120);
  t.equal(gateways.upstream.count('small'), 60);
});

t.test(
  'three nodes, one of them dead: who is counted there is decided by policy, the others are not',
  async (t) => {
    const cluster = await startRedisCluster(t);
    const gateways = await startGateways(t, { count: 1, redis: cluster.url, classes: perHour(60), limits });
    t.equal((await gateways.get(0, '/small/x')).status, 200);
    const owners = await Promise.all(
      cluster.nodes.map(async (node) =>
        ((await node.command('KEYS', '*small*')) as string[]).length > 0 ? node : undefined,
      ),
    );
    const owner = owners.find((node) => node !== undefined) as TestRedis;
    const other = cluster.nodes.find((node) => node !== owner) as TestRedis;
    await other.kill();
    for (let count = 0; count < 10; count += 1) {
      t.equal((await gateways.get(0, '/small/x')).status, 200, 'its own node answers');
      await delay(150);
    }
    await other.start();
    await owner.kill();
    await until(async () => (await gateways.get(0, '/small/x')).status === 503);
    await owner.start();
    await until(async () => (await gateways.get(0, '/small/x')).status === 200);
  },
);
