/** Several gateways over one Redis: what reaches the upstream is the capacity and what flowed back, and no more. */
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { startRedis } from '../../support/redis.ts';
import { type Gateways, startGateways } from './gateways.ts';

/** All at once, spread over all gateways. */
function flood(gateways: Gateways, count: number, path: string): Promise<number[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const response = await gateways.get(index % gateways.urls.length, path);
      await response.arrayBuffer();
      return response.status;
    }),
  );
}

/** A busy machine must not look like a Redis that is away. */
const limits = '  deadline: 1s';

const passed = (statuses: readonly number[]) => statuses.filter((status) => status === 200).length;

const classes = `    small: { rate: 60/hour }
    large: { rate: 1000/second }
    slow: { rate: 1000/hour, burst: 2000 }`;

t.test('240 at once against 60 an hour over four gateways: exactly 60', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, { count: 4, redis: redis.url, classes, limits });
  const statuses = await flood(gateways, 240, '/small/x');
  t.equal(passed(statuses), 60);
  t.equal(gateways.upstream.count('small'), 60);
  t.equal(statuses.filter((status) => status === 429).length, 180);
});

t.test('attack 33: 61 over four gateways, in disguise, against 60: exactly 60', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, { count: 4, redis: redis.url, classes, limits });
  await Promise.all(
    Array.from({ length: 61 }, (_, index) =>
      fetch(`${gateways.urls[index % 4]}/small/x?n=${index}`, {
        method: index % 2 === 0 ? 'GET' : 'HEAD',
        headers: { 'X-Forwarded-For': `10.0.0.${index}`, 'X-Api-Key': `k${index}` },
      }),
    ),
  );
  t.equal(gateways.upstream.count('small'), 60);
});

t.test('exactly 60 too while scripts are flushed, connections cut and replicas started anew', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, {
    count: 4,
    redis: redis.url,
    classes: classes.replace('60/hour', '60/hour, when_redis_is_away: closed'),
  });
  let trouble = true;
  const troubles = (async () => {
    while (trouble) {
      await redis.command('SCRIPT', 'FLUSH');
      await redis.command('CLIENT', 'KILL', 'TYPE', 'normal');
      await delay(30);
    }
  })();
  // Whoever was refused for want of an answer asks again, as clients do.
  for (let round = 0; round < 30; round += 1) {
    await flood(gateways, 24, '/small/x');
    await delay(20);
  }
  trouble = false;
  await troubles;
  await delay(1_500);
  await flood(gateways, 120, '/small/x');
  const count = gateways.upstream.count('small');
  t.ok(count <= 60, `${count} passed: a command that was cut off is never sent again`);
  t.ok(count > 30, `${count} passed: most came through`);
});

t.test('a class on leases: what passes is within the bound, and most requests ask nobody', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, { count: 4, redis: redis.url, classes, limits });
  const startedMs = performance.now();
  let asked = 0;
  while (performance.now() - startedMs < 4_000) {
    await flood(gateways, 100, '/large/x');
    asked += 100;
  }
  const elapsedMs = performance.now() - startedMs;
  const count = gateways.upstream.count('large');
  const bound = 1_000 + Math.floor(elapsedMs);
  t.ok(count <= bound, `${count} of ${asked} passed, ${bound} could`);
  let fromLease = 0;
  for (let index = 0; index < 4; index += 1)
    fromLease += await gateways.metric(index, 'rate_limit_decisions_total{source="lease"}');
  t.ok(fromLease > asked / 4, `${fromLease} of ${asked} from leases`);
});

t.test('a class on leases gives out all of a capacity, and not one more', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, { count: 4, redis: redis.url, classes, limits });
  const startedMs = performance.now();
  for (let round = 0; round < 16; round += 1) await flood(gateways, 200, '/slow/x');
  // What was on lease somewhere and not spent is back after three seconds, and what was known to be empty after four.
  for (let round = 0; round < 2; round += 1) {
    await delay(4_000);
    await flood(gateways, 400, '/slow/x');
  }
  const flowed = Math.floor((performance.now() - startedMs) / 3_600);
  const count = gateways.upstream.count('slow');
  t.ok(count <= 2_000 + flowed, `${count} passed`);
  t.ok(count >= 1_900, `${count} passed`);
});

t.test('a wait as long as Retry-After says is enough, over another gateway too', async (t) => {
  const redis = await startRedis(t);
  const gateways = await startGateways(t, {
    count: 2,
    redis: redis.url,
    classes: '    brief: { rate: 20/minute, burst: 2 }',
  });
  await flood(gateways, 2, '/brief/x');
  const refused = await gateways.get(0, '/brief/x');
  t.equal(refused.status, 429);
  const again = await gateways.get(0, '/brief/x');
  t.equal(again.status, 429);
  t.equal(
    await gateways.metric(0, 'rate_limit_decisions_total{source="empty"}'),
    1,
    'nobody was asked again',
  );
  await delay(Number(refused.headers.get('retry-after')) * 1_000);
  t.equal((await gateways.get(1, '/brief/x')).status, 200);
});
