/** A worker's side of the buckets that its primary owns. */
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { bucketOwnerDeadlineMs } from '../../src/limits.ts';
import { BucketOwner } from '../../src/workers/bucket-owner.ts';
import type { ToPrimary } from '../../src/workers/messages.ts';
import { OwnedBuckets, OwnedLockout, SharedFailures } from '../../src/workers/owned-buckets.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Nothing flows back while a fake clock stands. */
const rateClass = { name: 'read', capacity: 3, refillUnits: 1, refillPeriodUs: 1_000_000 };

t.test('requests of one turn are asked for together, and each gets its own answer', async (t) => {
  const sent: ToPrimary[] = [];
  const owner = new BucketOwner(new FakeClock());
  const buckets = new OwnedBuckets((message) => {
    sent.push(message);
    if (message.kind === 'take') buckets.taken(message.batch, owner.take(message.items));
  });
  const decisions = await Promise.all(
    ['a', 'a', 'b', 'a', 'a'].map((who) => buckets.take(rateClass, who, 1)),
  );
  t.equal(sent.length, 1);
  t.strictSame(
    decisions.map(({ admitted, remaining }) => [admitted, remaining]),
    [
      [true, 2],
      [true, 1],
      [true, 2],
      [true, 0],
      [false, 0],
    ],
  );
  t.ok(decisions.every((decision) => decision.rateClass === rateClass && decision.source === 'memory'));
});

t.test('what is not answered in time is refused, and a late answer gives nothing', async (t) => {
  const sent: ToPrimary[] = [];
  const buckets = new OwnedBuckets((message) => void sent.push(message));
  const askedMs = performance.now();
  const decision = await buckets.take(rateClass, 'a', 1);
  t.ok(performance.now() - askedMs >= bucketOwnerDeadlineMs - 10);
  t.match(decision, { admitted: false, source: 'closed', retryInMs: 1_000 });
  buckets.taken(1, [[true, 2, 0, 0]]);
  t.equal(sent.length, 1);
});

t.test('failures of all workers are known to each once the primary has told them', async (t) => {
  const clock = new FakeClock();
  const owner = new BucketOwner(clock);
  const workers: SharedFailures[] = [];
  const worker = () => {
    const made: SharedFailures = new SharedFailures((message) => {
      if (message.kind !== 'failed') return;
      const debtTicks = owner.failed(message.bucketClass, message.partition);
      for (const one of workers) one.counted(message.bucketClass, message.partition, debtTicks);
    }, clock);
    workers.push(made);
    return made;
  };
  const [one, two] = [worker(), worker()];
  one.take(rateClass, 'a', 1);
  two.take(rateClass, 'a', 1);
  t.ok(one.peek(rateClass, 'a', 1).admitted);
  one.take(rateClass, 'a', 1);
  await turn();
  for (const each of [one, two]) t.notOk(each.peek(rateClass, 'a', 1).admitted);
  t.ok(two.peek(rateClass, 'b', 1).admitted);
});

t.test('of all workers one is told that a name has had its last try', async (t) => {
  const clock = new FakeClock();
  const owner = new BucketOwner(clock);
  const worker = () => {
    const made: OwnedLockout = new OwnedLockout((message) => {
      if (message.kind === 'exhaust')
        made.exhausted(message.id, owner.exhaust(message.bucketClass, message.partition));
    }, clock);
    return made;
  };
  const [one, two] = [worker(), worker()];
  const tries = [one, two, one, two, two, one].map((each) => each.exhaust(rateClass, 'a'));
  t.strictSame(await Promise.all(tries), [false, false, true, false, false, true]);
});
