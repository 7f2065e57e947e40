import fc from 'fast-check';
import t from 'tap';
import { type BucketState, take } from '../../src/bucket/arithmetic.ts';
import { configSchema } from '../../src/config/schema.ts';
import type { RateClass } from '../../src/exchange.ts';

/** A class as the configuration makes it; undefined where it refuses to. */
function classOf(rate: string, burst?: number): RateClass | undefined {
  const classes = { read: { rate, ...(burst !== undefined && { burst }) } };
  const parsed = configSchema.shape.rate_limits.safeParse({ classes });
  const rateClass = parsed.data?.classes.read;
  return rateClass === undefined ? undefined : { name: 'read', ...rateClass };
}

function known(rate: string, burst?: number): RateClass {
  const rateClass = classOf(rate, burst);
  if (rateClass === undefined) throw new Error(`the configuration refuses ${rate} with a burst of ${burst}`);
  return rateClass;
}

const period = fc.constantFrom('second', 'minute', 'hour', 'day');
const anyClass = fc
  .tuple(
    fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000_000 })),
    period,
    fc.option(fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 1_000_000 })), {
      nil: undefined,
    }),
  )
  .map(([units, unit, burst]) => classOf(`${units}/${unit}`, burst))
  .filter((rateClass) => rateClass !== undefined);

/** How the clock moves between two takes: not at all, a little, a lot, back. */
const clockStepUs = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 0, max: 2_000_000 }),
  fc.integer({ min: 0, max: 100_000_000_000 }),
  fc.integer({ min: -10_000_000, max: 0 }),
);
const step = fc.record({ stepUs: clockStepUs, share: fc.double({ min: 0, max: 1, noNaN: true }) });
const trace = fc.array(step, { minLength: 1, maxLength: 60 });

/** A cost of 1 to the capacity; mostly 1. */
const costOf = ({ capacity }: RateClass, share: number) =>
  share < 0.7 ? 1 : Math.max(1, Math.floor(share * capacity));

t.test('property: never admits more than its capacity and what flowed back', async () => {
  fc.assert(
    fc.property(anyClass, trace, (rateClass, steps) => {
      let state: BucketState | undefined;
      let nowUs = 1_000_000_000_000;
      const startUs = nowUs + (steps[0]?.stepUs ?? 0);
      let latestUs = startUs;
      let admittedUnits = 0;
      for (const { stepUs, share } of steps) {
        nowUs += stepUs;
        latestUs = Math.max(latestUs, nowUs);
        const cost = costOf(rateClass, share);
        const taken = take(rateClass, state, cost, nowUs);
        state = taken.state;
        if (taken.decision.admitted) admittedUnits += cost;
        const flowed =
          (BigInt(latestUs - startUs) * BigInt(rateClass.refillUnits)) / BigInt(rateClass.refillPeriodUs);
        if (BigInt(admittedUnits) > BigInt(rateClass.capacity) + flowed) return false;
      }
      return true;
    }),
    { numRuns: 1_000 },
  );
});

t.test(
  'property: a bucket that refuses is too empty, to the tick: the limit is met, not undercut',
  async () => {
    fc.assert(
      fc.property(anyClass, trace, (rateClass, steps) => {
        let state: BucketState | undefined;
        let nowUs = 0;
        // The same bucket in exact arithmetic: what it holds, in ticks.
        const full = BigInt(rateClass.capacity) * BigInt(rateClass.refillPeriodUs);
        let held = full;
        for (const { stepUs, share } of steps) {
          const passedUs = Math.max(0, stepUs);
          nowUs += passedUs;
          held += BigInt(passedUs) * BigInt(rateClass.refillUnits);
          if (held > full) held = full;
          const cost = costOf(rateClass, share);
          const taken = take(rateClass, state, cost, nowUs);
          state = taken.state;
          const price = BigInt(cost) * BigInt(rateClass.refillPeriodUs);
          if (taken.decision.admitted !== price <= held) return false;
          if (taken.decision.admitted) held -= price;
          if (BigInt(taken.decision.remaining) !== held / BigInt(rateClass.refillPeriodUs)) return false;
        }
        return true;
      }),
      { numRuns: 1_000 },
    );
  },
);

/** A bucket in some state of emptiness, as a trace leaves it. */
const worn = fc.tuple(anyClass, trace).map(([rateClass, steps]) => {
  let state: BucketState | undefined;
  let nowUs = 0;
  for (const { stepUs, share } of steps) {
    nowUs = Math.max(0, nowUs + stepUs);
    state = take(rateClass, state, costOf(rateClass, share), nowUs).state;
  }
  return { rateClass, state, nowUs: Math.max(nowUs, state?.atUs ?? 0) };
});

const microseconds = (ms: number) => Math.round(ms * 1_000);

t.test('property: waiting exactly retryInMs admits, one microsecond less does not', async () => {
  fc.assert(
    fc.property(worn, fc.double({ min: 0, max: 1, noNaN: true }), ({ rateClass, state, nowUs }, share) => {
      const cost = costOf(rateClass, share);
      const { decision, state: refused } = take(rateClass, state, cost, nowUs);
      fc.pre(!decision.admitted);
      const waitUs = microseconds(decision.retryInMs);
      return (
        waitUs >= 1 &&
        take(rateClass, refused, cost, nowUs + waitUs).decision.admitted &&
        !take(rateClass, refused, cost, nowUs + waitUs - 1).decision.admitted
      );
    }),
    { numRuns: 1_000, maxSkipsPerRun: 1_000 },
  );
});

t.test('property: after fullInMs the bucket is full, one microsecond before it is not', async () => {
  fc.assert(
    fc.property(worn, ({ rateClass, state, nowUs }) => {
      const after = take(rateClass, state, 1, nowUs);
      const waitUs = microseconds(after.decision.fullInMs);
      const { capacity } = rateClass;
      const isFull = (atUs: number) => take(rateClass, after.state, capacity, atUs).decision.admitted;
      return isFull(nowUs + waitUs) && !(waitUs > 0 && isFull(nowUs + waitUs - 1));
    }),
    { numRuns: 1_000 },
  );
});

t.test('property: a refused take takes nothing', async () => {
  fc.assert(
    fc.property(worn, ({ rateClass, state, nowUs }) => {
      const { capacity } = rateClass;
      const before = take(rateClass, state, 1, nowUs);
      const refused = take(rateClass, before.state, capacity, nowUs);
      fc.pre(!refused.decision.admitted);
      return (
        refused.state.debtTicks === before.state.debtTicks &&
        refused.decision.remaining === before.decision.remaining
      );
    }),
    { numRuns: 1_000, maxSkipsPerRun: 1_000 },
  );
});

t.test('property: whatever the configuration allows, what is stored is a safe integer', async () => {
  fc.assert(
    fc.property(worn, fc.integer({ min: 0, max: 2 ** 45 }), ({ rateClass, state, nowUs }, laterUs) => {
      const { state: after, decision } = take(rateClass, state, rateClass.capacity, nowUs + laterUs);
      return (
        [after.debtTicks, after.atUs, decision.remaining].every(Number.isSafeInteger) &&
        after.debtTicks >= 0 &&
        after.debtTicks <= rateClass.capacity * rateClass.refillPeriodUs &&
        decision.remaining >= 0 &&
        decision.remaining <= rateClass.capacity
      );
    }),
    { numRuns: 1_000 },
  );
});

for (const [rate, burst] of [
  ['1/day', 52_000],
  ['999983/day', 52_000],
  ['999983/second', 1_000_000],
  ['1000000/second', 1_000_000],
  ['1/second', 1_000_000],
  ['7/hour', 1_000_000],
] as const)
  t.test(`the extreme class ${rate} with a burst of ${burst} counts to the last unit`, async (t) => {
    const rateClass = known(rate, burst);
    const almost = take(rateClass, undefined, burst - 1, 0);
    t.equal(almost.decision.remaining, 1);
    const last = take(rateClass, almost.state, 1, 0);
    t.equal(last.decision.admitted, true);
    t.equal(last.decision.remaining, 0);
    const over = take(rateClass, last.state, 1, 0);
    t.equal(over.decision.admitted, false);
    const waitUs = microseconds(over.decision.retryInMs);
    t.equal(take(rateClass, over.state, 1, waitUs - 1).decision.admitted, false);
    t.equal(take(rateClass, over.state, 1, waitUs).decision.admitted, true);
  });

t.test('60/minute: 60 at once pass, the 61st waits a second', async (t) => {
  const rateClass = known('60/minute');
  let state: BucketState | undefined;
  for (let count = 0; count < 60; count += 1) {
    const taken = take(rateClass, state, 1, 5_000);
    t.equal(taken.decision.admitted, true);
    t.equal(taken.decision.remaining, 59 - count);
    state = taken.state;
  }
  const refused = take(rateClass, state, 1, 5_000).decision;
  t.match(refused, { admitted: false, remaining: 0, fullInMs: 60_000, retryInMs: 1_000 });
});

t.test('a clock that steps back refills nothing, nor twice when it comes forward again', async (t) => {
  const rateClass = known('1/second', 2);
  const empty = take(rateClass, undefined, 2, 10_000_000).state;
  const back = take(rateClass, empty, 1, 1_000_000);
  t.equal(back.decision.admitted, false);
  const again = take(rateClass, back.state, 1, 10_000_000);
  t.equal(again.decision.admitted, false);
  t.equal(take(rateClass, again.state, 1, 11_000_000).decision.admitted, true);
});

t.test('a clock years ahead fills the bucket and no more', async (t) => {
  const rateClass = known('1000000/second');
  const empty = take(rateClass, undefined, 1_000_000, 0).state;
  t.equal(take(rateClass, empty, 1, 2 ** 52).decision.remaining, 999_999);
});

t.test('a bucket that was larger when it was stored is empty, and no emptier', async (t) => {
  const small = { name: 'read', capacity: 2, refillUnits: 1, refillPeriodUs: 1_000_000 };
  const { decision, state } = take(small, { debtTicks: 50_000_000, atUs: 0 }, 1, 0);
  t.match(decision, { admitted: false, remaining: 0, retryInMs: 1_000 });
  t.equal(state.debtTicks, 2_000_000);
});
