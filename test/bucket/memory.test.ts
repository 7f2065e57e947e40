import t from 'tap';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import type { RateClass } from '../../src/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

const twoASecond: RateClass = { name: 'read', capacity: 2, refillUnits: 1, refillPeriodUs: 500_000 };
const other: RateClass = { ...twoASecond, name: 'write' };

t.test('a bucket refills with the clock', async (t) => {
  const clock = new FakeClock();
  const buckets = new MemoryBuckets(clock);
  t.strictSame(
    [1, 2, 3].map(() => buckets.take(twoASecond, 'a', 1).admitted),
    [true, true, false],
  );
  clock.nowMs += 499;
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, false);
  clock.nowMs += 1;
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, true);
});

t.test('partitions do not share', async (t) => {
  const buckets = new MemoryBuckets(new FakeClock());
  buckets.take(twoASecond, 'a', 2);
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, false);
  t.equal(buckets.take(twoASecond, 'b', 1).admitted, true);
});

t.test('classes do not share', async (t) => {
  const buckets = new MemoryBuckets(new FakeClock());
  buckets.take(twoASecond, 'a', 2);
  t.equal(buckets.take(other, 'a', 1).admitted, true);
});

t.test('peeking takes nothing', async (t) => {
  const buckets = new MemoryBuckets(new FakeClock());
  for (let count = 0; count < 5; count += 1) t.equal(buckets.peek(twoASecond, 'a', 2).admitted, true);
  t.equal(buckets.take(twoASecond, 'a', 2).admitted, true);
});

t.test('a refusal costs nothing, so a caller that keeps asking is served in time', async (t) => {
  const clock = new FakeClock();
  const buckets = new MemoryBuckets(clock);
  buckets.take(twoASecond, 'a', 2);
  for (let count = 0; count < 5; count += 1) {
    clock.nowMs += 99;
    t.equal(buckets.take(twoASecond, 'a', 1).admitted, false);
  }
  clock.nowMs += 5;
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, true);
});

t.test('the number of buckets is bounded; the one not used for longest is forgotten', async (t) => {
  const buckets = new MemoryBuckets(new FakeClock(), 2);
  buckets.take(twoASecond, 'a', 2);
  buckets.take(twoASecond, 'b', 2);
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, false, 'a is used again');
  buckets.take(twoASecond, 'c', 2);
  t.equal(buckets.take(twoASecond, 'a', 1).admitted, false, 'a is remembered');
  t.equal(buckets.take(twoASecond, 'b', 1).admitted, true, 'b is not');
});
