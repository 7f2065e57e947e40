/** Buckets of two replicas in one real Redis, by clocks of ours that cannot be trusted. */
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Away } from '../../src/bucket/away.ts';
import { RedisBuckets } from '../../src/bucket/redis.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import type { RateClass, RateDecision } from '../../src/exchange.ts';
import { RedisConnections } from '../../src/redis/connections.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startRedis, until } from '../support/redis.ts';

const server = await startRedis(t);

/** One replica; `trips` is how often it asked. */
async function replica(t: Test, clock: Clock = systemClock) {
  const connections = new RedisConnections(parseRedisUrl(server.url));
  const client = connections.client('test', () => undefined);
  await until(() => client.isUp);
  const state = { trips: 0 };
  const buckets = new RedisBuckets({
    sender: {
      send: (command, ...args) => {
        state.trips += 1;
        return client.send(command, ...args);
      },
    },
    isCluster: false,
    clock,
    away: new Away({ clock, replicas: 2, policies: new Map() }),
    deadlineMs: 5_000,
    onTurn: (isUp) => isUp && turned.resolve(),
  });
  const turned = Promise.withResolvers<void>();
  t.teardown(async () => {
    await buckets.close();
    await connections.close();
  });
  buckets.connected(true, undefined);
  await turned.promise;
  state.trips = 0;
  return { buckets, state };
}

const small: RateClass = { name: 'small', capacity: 5, refillUnits: 1, refillPeriodUs: 3_600_000_000 };
const large: RateClass = { name: 'large', capacity: 1_000, refillUnits: 1, refillPeriodUs: 3_600_000 };

async function takes(buckets: RedisBuckets, rateClass: RateClass, count: number, partition: string) {
  const decisions = Array.from({ length: count }, () => buckets.take(rateClass, partition, 1));
  return Promise.all(decisions);
}

const admitted = (decisions: readonly RateDecision[]) => decisions.filter((one) => one.admitted).length;

t.test('a clock of ours that stands still, or is an hour off, moves no limit', async (t) => {
  const [frozen, stepping] = [new FakeClock(), new FakeClock()];
  const [a, b] = [await replica(t, frozen), await replica(t, stepping)];
  const soon: RateClass = { name: 'soon', capacity: 4, refillUnits: 1, refillPeriodUs: 1_000_000 };
  t.equal(admitted(await takes(a.buckets, soon, 10, 'x')), 4);
  stepping.nowMs += 3_600_000;
  t.equal(admitted(await takes(b.buckets, soon, 10, 'x')), 0);
  await delay(1_100);
  stepping.nowMs -= 7_200_000;
  t.equal(admitted(await takes(a.buckets, soon, 1, 'x')) + admitted(await takes(b.buckets, soon, 1, 'x')), 1);
});

t.test('a lease does not outlive its time while a clock of ours stands still', async (t) => {
  const frozen = await replica(t, new FakeClock());
  const other = await replica(t);
  let passed = 0;
  for (let round = 0; round < 3; round += 1)
    passed += admitted(await takes(frozen.buckets, large, 40, 'frozen'));
  // By now Redis counts what was on lease as spent, and what is left may go to another one.
  await delay(4_000);
  for (let round = 0; round < 30; round += 1) {
    passed += admitted(await takes(other.buckets, large, 50, 'frozen'));
    passed += admitted(await takes(frozen.buckets, large, 50, 'frozen'));
  }
  t.ok(passed <= 1_002, `${passed}`);
});

t.test('a bucket known to be empty is refused without asking, until the moment it is not', async (t) => {
  const { buckets, state } = await replica(t);
  await takes(buckets, small, 6, 'y');
  const before = state.trips;
  const again = await takes(buckets, small, 100, 'y');
  t.equal(state.trips, before);
  t.ok(again.every(({ source, admitted: passes }) => source === 'empty' && !passes));
  t.ok((again[0]?.retryInMs ?? 0) > 3_590_000, 'told the whole time, though it is not believed for so long');
});

t.test('a busy caller of a large class asks seldom, and a small class always', async (t) => {
  const { buckets, state } = await replica(t);
  const busy: RateClass = { name: 'busy', capacity: 100_000, refillUnits: 1, refillPeriodUs: 10 };
  const sources = [];
  for (let round = 0; round < 200; round += 1) sources.push(...(await takes(buckets, busy, 10, 'z')));
  t.equal(admitted(sources), 2_000);
  t.ok(state.trips < 200, `${state.trips} questions for 2000 requests`);
  t.ok(sources.filter(({ source }) => source === 'lease').length > 1_500);
});

t.test('what is not used goes back', async (t) => {
  const { buckets } = await replica(t);
  for (let round = 0; round < 5; round += 1) await takes(buckets, large, 10, 'back');
  const stored = async () => String(await server.command('GET', (await keyOf('back')) ?? ''));
  const debtUnits = async () => Number((await stored()).split(' ')[0]) / large.refillPeriodUs;
  t.ok((await debtUnits()) > 51, 'more than was spent is taken');
  await until(async () => (await debtUnits()) <= 50);
  t.equal((await stored()).split(' ').length, 3, 'nothing is on lease');
});

async function keyOf(partition: string): Promise<string | undefined> {
  const keys = (await server.command('KEYS', `*:${partition}`)) as string[];
  return keys[0];
}

t.test('what is left on lease goes back when a gateway stops', async (t) => {
  const { buckets } = await replica(t);
  for (let round = 0; round < 5; round += 1) await takes(buckets, large, 10, 'stop');
  await buckets.close();
  const [debtTicks = 0, , , ...leases] = String(
    await server.command('GET', (await keyOf('stop')) ?? ''),
  ).split(' ');
  t.ok(Number(debtTicks) / large.refillPeriodUs <= 50);
  t.strictSame(leases, []);
});

t.test('outages that come again and again give out one share, not one each', async (t) => {
  const { buckets } = await replica(t);
  const shared: RateClass = {
    name: 'flapping',
    capacity: 20,
    refillUnits: 1,
    refillPeriodUs: 3_600_000_000,
  };
  let byRedis = 0;
  let local = 0;
  for (let round = 0; round < 8; round += 1) {
    buckets.connected(true, undefined);
    await until(async () => {
      const { source, admitted: passes } = await buckets.take(shared, 'x', 1);
      byRedis += source === 'redis' && passes ? 1 : 0;
      local += source === 'local' && passes ? 1 : 0;
      return source === 'redis';
    });
    buckets.connected(false, undefined);
    local += admitted(await takes(buckets, shared, 30, 'x'));
  }
  t.equal(byRedis, 8);
  t.ok(local > 0 && local <= 10, `${local} where the share of one of two gateways is 10`);
});
