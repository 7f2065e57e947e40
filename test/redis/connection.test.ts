import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { RedisConnections } from '../../src/redis/connections.ts';
import type { RedisFault } from '../../src/redis/fault.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import {
  makeTlsFiles,
  startRedis,
  startRedisCluster,
  startRedisSentinels,
  type TestRedis,
  until,
} from '../support/redis.ts';

/** Connections to a URL, and what they said of themselves. */
function open(t: Test, url: string) {
  const connections = new RedisConnections(parseRedisUrl(url));
  t.teardown(() => connections.close());
  const states: Array<{ up: boolean; fault: RedisFault | undefined }> = [];
  const client = connections.client('test', (up, fault) => states.push({ up, fault }));
  return { connections, client, states };
}

function withUser(url: string, user: string, password: string): string {
  return url.replace('://', `://${user}:${encodeURIComponent(password)}@`);
}

t.test('a client comes up, sends, and says good-bye', async (t) => {
  const server = await startRedis(t);
  const { client, connections, states } = open(t, `${server.url}/3`);
  await until(() => client.isUp);
  t.strictSame(states, [{ up: true, fault: undefined }]);
  t.equal(await client.send('SET', 'a', 1), 'OK');
  t.equal(await client.send('GET', 'a'), '1');
  t.match(await server.command('CLIENT', 'LIST'), /name=portcullis:test .*db=3/);
  await connections.close();
  await until(async () => !/portcullis:test/.test(String(await server.command('CLIENT', 'LIST'))));
  t.equal(states.length, 1, 'a close that was asked for is no fault');
});

t.test('where nobody listens, it is down, says why, refuses at once, and comes up later', async (t) => {
  const server = await startRedis(t);
  await server.kill();
  const { client, states } = open(t, server.url);
  await until(() => states.length === 1);
  t.match(states[0], { up: false, fault: { message: /ECONNREFUSED/ } });
  const startedMs = performance.now();
  await t.rejects(client.send('PING'), { name: 'RedisFault', message: 'not connected', reply: '' });
  t.ok(performance.now() - startedMs < 500);
  await server.start();
  await until(() => client.isUp);
  t.equal(await client.send('PING'), 'PONG');
  t.equal(states.length, 2);
});

t.test('a killed server is noticed, and its successor found', async (t) => {
  const server = await startRedis(t);
  const { client, states } = open(t, server.url);
  await until(() => client.isUp);
  await server.kill();
  await until(() => !client.isUp);
  await server.start();
  await until(() => client.isUp);
  t.strictSame(
    states.map(({ up }) => up),
    [true, false, true],
  );
});

t.test('a frozen server is noticed; commands end, and it comes back', async (t) => {
  const server = await startRedis(t);
  const { client } = open(t, server.url);
  await until(() => client.isUp);
  server.freeze();
  t.teardown(() => server.thaw());
  await t.rejects(client.send('INCR', 'n'), { name: 'RedisFault' });
  await until(() => !client.isUp);
  server.thaw();
  await until(() => client.isUp);
  t.ok(Number(await server.command('GET', 'n')) <= 1, 'a command is never sent twice');
});

t.test('closing does not wait for a server that hangs', async (t) => {
  const server = await startRedis(t);
  const { client, connections } = open(t, server.url);
  await until(() => client.isUp);
  server.freeze();
  const startedMs = performance.now();
  await connections.close();
  t.ok(performance.now() - startedMs < 5_000);
  server.thaw();
});

t.test('an error of the server has its first word, and nothing of what was sent', async (t) => {
  const server = await startRedis(t);
  const { client } = open(t, server.url);
  await until(() => client.isUp);
  await client.send('SET', 'text', 'x');
  const error = (await client.send('INCRBY', 'text', 4711).catch((fault: unknown) => fault)) as RedisFault;
  t.equal(error.reply, 'ERR');
  t.notMatch(JSON.stringify({ ...error, message: error.message, stack: error.stack }), '4711');
});

t.test('TLS and an ACL user', async (t) => {
  const files = makeTlsFiles(t);
  const password = 'p:/?#@%s';
  const acl = `user gateway on >${password} ~portcullis:* &portcullis:* +@all`;
  const server = await startRedis(t, { tls: files, settings: [acl] });
  const url = `${withUser(server.url, 'gateway', password)}?ca=${encodeURIComponent(files.ca)}`;
  const { client } = open(t, url);
  await until(() => client.isUp);
  t.equal(await client.send('SET', 'portcullis:a', 1), 'OK');
  await t.rejects(client.send('SET', 'other', 1), { name: 'RedisFault', reply: 'NOPERM' });

  const stranger = open(t, withUser(server.url, 'gateway', password));
  await until(() => stranger.states.length === 1);
  t.match(stranger.states[0], { up: false, fault: { message: /certificate/i } }, 'an unknown authority');
  const wrong = open(t, `${withUser(server.url, 'gateway', 'hunter2')}?ca=${encodeURIComponent(files.ca)}`);
  await until(() => wrong.states.length === 1);
  const [state] = wrong.states;
  t.match(state, { up: false, fault: { reply: 'WRONGPASS' } });
  t.notMatch(JSON.stringify(state?.fault, Object.getOwnPropertyNames(state?.fault)), 'hunter2');
});

t.test('a cluster: keys of any slot, and a node that is away takes only its own with it', async (t) => {
  const cluster = await startRedisCluster(t);
  const { client } = open(t, cluster.url);
  await until(() => client.isUp);
  for (let tag = 0; tag < 30; tag += 1) t.equal(await client.send('SET', `{${tag}}`, tag), 'OK');
  const sizes = await Promise.all(cluster.nodes.map((node) => node.command('DBSIZE')));
  t.ok(
    sizes.every((size) => Number(size) > 0),
    sizes.join(' '),
  );
  await (cluster.nodes[2] as TestRedis).kill();
  await delay(100);
  const answers = await Promise.allSettled(
    Array.from({ length: 30 }, (_, tag) => client.send('GET', `{${tag}}`)),
  );
  const served = answers.filter(({ status }) => status === 'fulfilled').length;
  t.equal(served, Number(sizes[0]) + Number(sizes[1]));
  await (cluster.nodes[2] as TestRedis).kill();
});

t.test('Sentinels: the new master is found when the old one freezes', async (t) => {
  const { url, master, replica, promoted } = await startRedisSentinels(t);
  const { client } = open(t, url);
  await until(() => client.isUp);
  t.equal(await client.send('SET', 'a', 1), 'OK');
  master.freeze();
  await promoted(replica);
  await until(async () => (await client.send('SET', 'a', 2).catch(() => '')) === 'OK');
  t.equal(await replica.command('GET', 'a'), '2');
});

for (const topology of ['standalone', 'cluster'] as const) {
  t.test(
    `a subscriber hears what is published, also after its connection was lost: ${topology}`,
    async (t) => {
      const cluster = topology === 'cluster' ? await startRedisCluster(t) : undefined;
      const server = cluster?.nodes[0] ?? (await startRedis(t));
      const connections = new RedisConnections(parseRedisUrl(cluster?.url ?? server.url));
      t.teardown(() => connections.close());
      const heard: string[] = [];
      const states: boolean[] = [];
      const subscriber = connections.subscriber('push', {
        channels: ['news'],
        onMessage: (_, message) => heard.push(message),
        onState: (up) => states.push(up),
      });
      await until(() => subscriber.isUp);
      await (cluster?.nodes[2] ?? server).command('PUBLISH', 'news', 'one');
      await until(() => heard.length === 1);
      await server.kill();
      await until(() => !subscriber.isUp);
      if (cluster === undefined) await server.start();
      await until(() => subscriber.isUp);
      await (cluster?.nodes[2] ?? server).command('PUBLISH', 'news', 'two');
      await until(() => heard.length === 2);
      t.strictSame(heard, ['one', 'two']);
      t.strictSame(states, [true, false, true]);
    },
  );
}
