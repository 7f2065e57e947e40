/** The script against the arithmetic it repeats, and against the bound itself, on a real Redis. */
import fc from 'fast-check';
import t from 'tap';
import { type BucketState, fullTicks, take } from '../../src/bucket/arithmetic.ts';
import { ScriptStore, type Sender } from '../../src/bucket/script-store.ts';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { rateClassOf } from '../../src/config/schema.ts';
import type { RateClass } from '../../src/exchange.ts';
import { RedisConnections } from '../../src/redis/connections.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import { startRedis, until } from '../support/redis.ts';
import { clockKey, scriptWithSetClock } from './set-clock.ts';

const server = await startRedis(t);
const connections = new RedisConnections(parseRedisUrl(server.url));
t.teardown(() => connections.close());
const client = connections.client('test', () => undefined);
await until(() => client.isUp);

const sender: Sender = { send: (command, ...args) => client.send(command, ...args) };
const waitMs = 10_000;
const store = new ScriptStore(sender, waitMs, scriptWithSetClock);
const setClock = (nowUs: number) => client.send('SET', clockKey, nowUs);
const startUs = 1_800_000_000_000_000;

let buckets = 0;
/** A bucket nobody has used. */
const fresh = () => {
  buckets += 1;
  return `bucket ${buckets}`;
};

function classOf(rate: string, burst: number | undefined): RateClass | undefined {
  const yaml = `version: 1
rate_limits: { classes: { public: { rate: ${rate}${burst === undefined ? '' : `, burst: ${burst}`} } } }
audit: { sinks: [{ type: file, path: a }] }
endpoints: { identity: false }
`;
  try {
    return rateClassOf(parseConfig(yaml, { file: 'f', env: {} }).config, 'public');
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function known(rate: string, burst?: number): RateClass {
  const rateClass = classOf(rate, burst);
  if (rateClass === undefined) throw new Error(`the configuration refuses ${rate}`);
  return rateClass;
}

const anyClass = fc
  .tuple(
    fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000_000 })),
    fc.constantFrom('second', 'minute', 'hour', 'day'),
    fc.option(fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 1_000_000 })), {
      nil: undefined,
    }),
  )
  .map(([units, unit, burst]) => classOf(`${units}/${unit}`, burst))
  .filter((rateClass) => rateClass !== undefined);

/** Not at all, a little, a lot, back (by less than what counts as a clock that was set). */
const clockStepUs = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 2_000_000 }),
  fc.integer({ min: 0, max: 100_000_000_000 }),
  fc.integer({ min: -1_000_000, max: 0 }),
);
const trace = fc.array(
  fc.record({ stepUs: clockStepUs, share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  {
    minLength: 1,
    maxLength: 40,
  },
);
const costOf = ({ capacity }: RateClass, share: number) =>
  share < 0.7 ? 1 : Math.max(1, Math.floor(share * capacity));

t.test('property: the script decides as the arithmetic does, to the last tick', async (t) => {
  let takes = 0;
  await fc.assert(
    fc.asyncProperty(anyClass, trace, async (rateClass, steps) => {
      const partition = fresh();
      let state: BucketState | undefined;
      let nowUs = startUs;
      for (const { stepUs, share } of steps) {
        nowUs += stepUs;
        const cost = costOf(rateClass, share);
        await setClock(nowUs);
        const answer = await store.ask(rateClass, partition, { cost, count: 1, ahead: 0, report: undefined });
        const taken = take(rateClass, state, cost, nowUs);
        state = taken.state;
        takes += 1;
        if (answer.admitted !== (taken.decision.admitted ? 1 : 0) || answer.debtTicks !== state.debtTicks)
          return false;
      }
      return true;
    }),
    { numRuns: 300 },
  );
  t.comment(`${takes} takes`);
});

t.test('property: requests that ask together are served as if one after the other', async () => {
  await fc.assert(
    fc.asyncProperty(
      anyClass,
      fc.array(fc.tuple(clockStepUs, fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 5 })), {
        maxLength: 12,
      }),
      async (rateClass, steps) => {
        const partition = fresh();
        let state: BucketState | undefined;
        let nowUs = startUs;
        for (const [stepUs, count, wished] of steps) {
          nowUs += stepUs;
          const cost = Math.min(wished, rateClass.capacity);
          await setClock(nowUs);
          const answer = await store.ask(rateClass, partition, { cost, count, ahead: 0, report: undefined });
          let admitted = 0;
          for (let index = 0; index < count; index += 1) {
            const taken = take(rateClass, state, cost, nowUs);
            state = taken.state;
            if (taken.decision.admitted) admitted += 1;
          }
          if (answer.admitted !== admitted || answer.debtTicks !== state?.debtTicks) return false;
        }
        return true;
      },
    ),
    { numRuns: 150 },
  );
});

/** How long a replica spends what it was given. */
const leaseUs = 1_900_000;

/** What one replica does next: asks for some, spends what it holds, gives back, forgets (it died, or an answer was lost). */
const action = fc.record({
  replica: fc.nat({ max: 3 }),
  what: fc.constantFrom('ask', 'ask', 'spend', 'spend all', 'give back', 'forget'),
  count: fc.integer({ min: 0, max: 400 }),
  ahead: fc.integer({ min: 0, max: 2_000 }),
  stepUs: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: 300_000 }),
    fc.integer({ min: 0, max: 4_000_000 }),
  ),
});

interface Replica {
  units: number;
  spent: number;
  untilUs: number;
  born: number;
  expiryUs: number;
}

t.test(
  'property: four replicas with leases never pass more than the bucket, over any stretch of time',
  async (t) => {
    let leased = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(known('1000/second'), known('60000/minute', 5_000), known('7/second', 1_000)),
        fc.array(action, { minLength: 5, maxLength: 60 }),
        async (rateClass, actions) => {
          const partition = fresh();
          const replicas: Replica[] = Array.from({ length: 4 }, () => ({
            units: 0,
            spent: 0,
            untilUs: 0,
            born: 0,
            expiryUs: 0,
          }));
          let nowUs = startUs;
          /** What passed, and when. */
          const passed: Array<{ atUs: number; units: number }> = [];
          const pass = (units: number) => units > 0 && passed.push({ atUs: nowUs, units });
          for (const { replica: index, what, count, ahead, stepUs } of actions) {
            nowUs += stepUs;
            await setClock(nowUs);
            const replica = replicas[index] as Replica;
            if (nowUs >= replica.untilUs) replica.units = 0;
            if (what === 'spend' || what === 'spend all') {
              const units = what === 'spend' ? Math.min(count, replica.units) : replica.units;
              replica.units -= units;
              replica.spent += units;
              pass(units);
              continue;
            }
            if (what === 'forget') {
              Object.assign(replica, { units: 0, spent: 0, born: 0 });
              continue;
            }
            const isReturn = what === 'give back';
            const { born, expiryUs, spent, units } = replica;
            const report =
              born === 0
                ? undefined
                : { born, expiryUs, spent, kept: isReturn ? 0 : units, returned: isReturn ? units : 0 };
            const answer = await store.ask(rateClass, partition, {
              cost: 1,
              count: isReturn ? 0 : count,
              ahead: isReturn ? 0 : ahead,
              report,
            });
            pass(answer.admitted);
            leased += answer.leased;
            replica.units = answer.kept + answer.leased;
            replica.spent = 0;
            replica.born = answer.born;
            replica.expiryUs = answer.expiryUs;
            replica.untilUs = nowUs + leaseUs;
          }
          return isWithinBound(rateClass, passed);
        },
      ),
      { numRuns: 250 },
    );
    t.ok(leased > 10_000, `${leased} units were on lease`);
  },
);

/** Over every stretch from one passing to another: at most the capacity, and what flowed back meanwhile. */
function isWithinBound(
  { capacity, refillUnits, refillPeriodUs }: RateClass,
  passed: ReadonlyArray<{ atUs: number; units: number }>,
): boolean {
  for (const [index, first] of passed.entries()) {
    let units = 0;
    for (const { atUs, units: more } of passed.slice(index)) {
      units += more;
      const flowed = (BigInt(atUs - first.atUs) * BigInt(refillUnits)) / BigInt(refillPeriodUs);
      if (BigInt(units) > BigInt(capacity) + flowed) return false;
    }
  }
  return true;
}

const once = { cost: 1, count: 1, ahead: 0, report: undefined };

t.test('what is given back is there again, and a lease that ends counts as spent', async (t) => {
  const rateClass = known('1000/second');
  const partition = fresh();
  await setClock(startUs);
  const first = await store.ask(rateClass, partition, { ...once, ahead: 100 });
  t.match(first, { admitted: 1, leased: 100, debtTicks: 101_000 });
  const { born, expiryUs } = first;
  const back = { born, expiryUs, spent: 40, kept: 0, returned: 60 };
  const second = await store.ask(rateClass, partition, { cost: 1, count: 0, ahead: 0, report: back });
  t.equal(second.debtTicks, 41_000);
  const third = await store.ask(rateClass, partition, { ...once, ahead: 100 });
  t.equal(third.leased, 100);
  await setClock(startUs + 10_000_000);
  const fourth = await store.ask(rateClass, partition, { ...once, count: 1_000 });
  t.equal(fourth.admitted, 1_000, 'after its end all has flowed back');
});

t.test('a lease spent in its last moment does not come on top of what flowed back', async (t) => {
  const rateClass = known('1000/second');
  const partition = fresh();
  await setClock(startUs);
  const { leased, expiryUs } = await store.ask(rateClass, partition, { ...once, count: 0, ahead: 250 });
  t.equal(leased, 250);
  // All of it is spent just now; a moment later the lease is over.
  await setClock(expiryUs);
  t.equal((await store.ask(rateClass, partition, { ...once, count: 2_000 })).admitted, 750);
  await setClock(expiryUs + 100_000);
  t.equal((await store.ask(rateClass, partition, { ...once, count: 2_000 })).admitted, 100);
});

t.test('a report that is late, doubled or of another life of the bucket changes nothing', async (t) => {
  const rateClass = known('1/second', 1_000);
  const partition = fresh();
  await setClock(startUs);
  const { born, expiryUs, debtTicks } = await store.ask(rateClass, partition, { ...once, ahead: 100 });
  const only = (report: { born: number; expiryUs: number; spent: number; kept: number; returned: number }) =>
    store.ask(rateClass, partition, { cost: 1, count: 0, ahead: 0, report });
  const report = { born, expiryUs, spent: 0, kept: 0, returned: 100 };
  t.equal((await only({ ...report, born: born - 1 })).debtTicks, debtTicks);
  t.equal((await only({ ...report, expiryUs: expiryUs + 1_000_000 })).debtTicks, debtTicks);
  t.equal((await only({ ...report, returned: 101 })).debtTicks, debtTicks);
  t.equal((await only(report)).debtTicks, debtTicks - 100_000_000);
  t.equal((await only(report)).debtTicks, debtTicks - 100_000_000, 'the second time');
  await setClock(expiryUs);
  t.match(await only({ ...report, kept: 10, returned: 0 }), { kept: 0 });
});

t.test(
  'at most half of a bucket is on lease, and never more than a quarter of the rest at once',
  async (t) => {
    const rateClass = known('1000/minute');
    const partition = fresh();
    await setClock(startUs);
    let total = 0;
    for (let asker = 0; asker < 20; asker += 1) {
      const { leased, debtTicks } = await store.ask(rateClass, partition, { ...once, ahead: 1_000_000 });
      const before = (fullTicks(rateClass) - debtTicks) / rateClass.refillPeriodUs + leased;
      t.ok(leased <= before / 4);
      total += leased;
    }
    t.ok(total > 400 && total <= 500, `${total}`);
  },
);

t.test('a clock that was set back by an hour refills nothing at once, and goes on from there', async (t) => {
  const rateClass = known('60/minute');
  const partition = fresh();
  await setClock(startUs);
  await store.ask(rateClass, partition, { ...once, count: 60 });
  await setClock(startUs - 3_600_000_000);
  t.equal((await store.ask(rateClass, partition, { ...once, count: 60 })).admitted, 0);
  await setClock(startUs - 3_600_000_000 + 5_000_000);
  t.equal((await store.ask(rateClass, partition, { ...once, count: 60 })).admitted, 5);
});

t.test('idle buckets vanish once they are full', async (t) => {
  const real = new ScriptStore(sender, waitMs);
  const partition = fresh();
  await real.ask(known('10/second'), partition, { ...once, count: 2 });
  const [key] = (await client.send('KEYS', `*:${partition}`)) as string[];
  t.match(key, /^portcullis:\{\d+\}:public:bucket \d+$/);
  const ttlMs = Number(await client.send('PTTL', key ?? ''));
  t.ok(ttlMs > 200 && ttlMs <= 1_200, `${ttlMs}`);
  await real.ask(known('1/day'), fresh(), once);
  await until(async () => Number(await client.send('EXISTS', key ?? '')) === 0);
});

t.test('a class that was made smaller counts within its new size', async (t) => {
  const partition = fresh();
  await setClock(startUs);
  await store.ask(known('1000000/minute'), partition, { ...once, count: 1_000_000 });
  const smaller = known('1000/minute');
  const answer = await store.ask(smaller, partition, { ...once, ahead: 10 });
  t.ok(answer.debtTicks <= fullTicks(smaller));
  await store.ask(known('1000000/minute'), fresh(), { ...once, ahead: 200_000 });
  const leasing = fresh();
  await store.ask(known('1000000/minute'), leasing, { ...once, ahead: 200_000 });
  t.ok((await store.ask(known('2/minute'), leasing, once)).debtTicks <= fullTicks(known('2/minute')));
});

t.test(
  'what is given back to a class whose units are worth more by now leaves no debt below zero',
  async (t) => {
    const partition = fresh();
    await setClock(startUs);
    const { born, expiryUs, leased } = await store.ask(known('1000/second'), partition, {
      ...once,
      ahead: 100,
    });
    t.equal(leased, 100);
    await setClock(startUs - 1_000_000);
    const back = { born, expiryUs, spent: 0, kept: 0, returned: leased };
    const slower = known('1/second', 1_000);
    const answer = await store.ask(slower, partition, { cost: 1, count: 0, ahead: 0, report: back });
    t.equal(answer.debtTicks, 0);
    t.equal(
      (await store.ask(slower, partition, { ...once, count: 2_000 })).admitted,
      1_000,
      'and no more than all',
    );
  },
);

t.test('a flushed script cache is met by sending the script, and takes nothing twice', async (t) => {
  const rateClass = known('60/hour');
  const partition = fresh();
  await setClock(startUs);
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      if (index % 10 === 0) await client.send('SCRIPT', 'FLUSH');
      return store.ask(rateClass, partition, once);
    }),
  );
  t.equal(answers.filter(({ admitted }) => admitted === 1).length, 60);
});

t.test('a key that is something else is an error, not a bucket', async (t) => {
  const partition = fresh();
  await store.ask(known('60/hour'), partition, once);
  const [key = ''] = (await client.send('KEYS', `*:${partition}`)) as string[];
  await client.send('DEL', key);
  await client.send('LPUSH', key, 'x');
  await t.rejects(store.ask(known('60/hour'), partition, once), { name: 'RedisFault', reply: 'WRONGTYPE' });
});

for (const [reply, what] of [
  ['nonsense', 'text'],
  [null, 'nothing'],
  [[1, 0, 0, 1, 1], 'too few'],
  [[1, 0, 0, 1, 1, 1, 1], 'too many'],
  [[2, 0, 0, 0, 0, 0], 'more admitted than asked'],
  [[-1, 0, 0, 0, 0, 0], 'fewer than none'],
  [[1, 7, 0, 0, 0, 0], 'more leased than wished'],
  [[1, 0, 7, 0, 0, 0], 'kept what was not held'],
  [[1, 0, 0, 61_000_001, 0, 0], 'more missing than there is'],
  [[0.5, 0, 0, 0, 0, 0], 'half a request'],
  [['1', '0', '0', '0', '0', '0'], 'digits'],
] as const)
  t.test(`an answer that makes no sense is a fault: ${what}`, async (t) => {
    const odd = new ScriptStore({ send: async () => reply }, waitMs);
    await t.rejects(odd.ask(known('60/minute'), 'x', once), {
      name: 'RedisFault',
      message: 'an answer that makes no sense',
    });
  });

t.test('no answer in time is a fault', async (t) => {
  const silent = new ScriptStore({ send: () => new Promise(() => undefined) }, 20);
  await t.rejects(silent.ask(known('60/minute'), 'x', once), { message: 'no answer within 20 ms' });
});
