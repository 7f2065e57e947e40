/** Delivery to a Redis stream: a real server, that is killed, frozen, read-only, and comes back. */
import t, { type Test } from 'tap';
import { RedisStreamReceiver } from '../../../src/audit/sinks/redis-stream.ts';
import { RedisConnections } from '../../../src/redis/connections.ts';
import { parseRedisUrl } from '../../../src/redis/url.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { type Delivering, deduplicated, delivering, lineOf, numbersIn, range, until } from './delivering.ts';

async function start(t: Test, lengthMax = 1_000_000): Promise<{ redis: TestRedis; sink: Delivering }> {
  const redis = await startRedis(t);
  const connections = new RedisConnections(parseRedisUrl(redis.url));
  const client = connections.client('audit', () => undefined);
  const receiver = new RedisStreamReceiver(client, () => connections.close(), 'audit', lengthMax);
  return { redis, sink: await delivering(t, { receiver }) };
}

async function numbersOf(redis: TestRedis): Promise<number[]> {
  const entries = (await redis.command('XRANGE', 'audit', '-', '+')) as Array<[string, string[]]>;
  return numbersIn(entries.map(([, [name, line = '']]) => (name === 'record' ? line : '{}')));
}

t.test('a record is an entry, in order', async (t) => {
  const { redis, sink } = await start(t);
  for (const number of range(500)) sink.delivery.offer(lineOf(number));
  await until(() => sink.delivered === 500);
  t.strictSame(deduplicated(await numbersOf(redis)), range(500));
});

t.test('the stream is trimmed to about its length', async (t) => {
  const { redis, sink } = await start(t, 1_000);
  for (const number of range(5_000)) sink.delivery.offer(lineOf(number).replace(/x{400}/, ''));
  await until(() => sink.delivered === 5_000);
  const length = Number(await redis.command('XLEN', 'audit'));
  t.ok(length >= 1_000 && length < 1_500, `${length} entries`);
});

t.test('a server that was killed gets the rest when it is back', async (t) => {
  const { redis, sink } = await start(t);
  sink.delivery.offer(lineOf(0));
  await until(() => sink.delivered === 1);
  await redis.kill();
  for (const number of range(200, 1)) sink.delivery.offer(lineOf(number));
  await until(() => sink.ups.includes(false));
  await redis.start();
  await until(() => sink.delivered === 201);
  t.strictSame(deduplicated(await numbersOf(redis)), range(200, 1), 'it came back empty');
  t.equal(sink.dropped, 0);
  t.strictSame(sink.ups, [false, true]);
});

t.test('a server that hangs loses nothing', async (t) => {
  const { redis, sink } = await start(t);
  sink.delivery.offer(lineOf(0));
  await until(() => sink.delivered === 1);
  redis.freeze();
  for (const number of range(200, 1)) sink.delivery.offer(lineOf(number));
  await until(() => sink.ups.includes(false));
  redis.thaw();
  await until(() => sink.delivered === 201);
  t.strictSame(deduplicated(await numbersOf(redis)), range(201));
});

t.test('a key of another type, or no memory, is an outage that ends', async (t) => {
  const { redis, sink } = await start(t);
  await redis.command('SET', 'audit', 'in the way');
  sink.delivery.offer(lineOf(0));
  await until(() => sink.ups.includes(false));
  await redis.command('DEL', 'audit');
  await until(() => sink.delivered === 1);
  t.strictSame(await numbersOf(redis), [0]);
});
