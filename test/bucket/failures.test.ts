import t from 'tap';
import { Failures } from '../../src/bucket/failures.ts';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import { FakeClock } from '../support/fake-clock.ts';

const threeAMinute = { name: 'failures', capacity: 3, refillUnits: 1, refillPeriodUs: 20_000_000 };

function failing() {
  const clock = new FakeClock();
  return { clock, failures: new Failures(new MemoryBuckets(clock), threeAMinute) };
}

t.test('asking costs nothing', async (t) => {
  const { failures } = failing();
  for (let count = 0; count < 10; count += 1) t.doesNotThrow(() => failures.check('192.0.2.1'));
});

t.test('an address that failed too often is told when to come back', async (t) => {
  const { failures, clock } = failing();
  for (let count = 0; count < 3; count += 1) failures.record('192.0.2.1');
  t.throws(() => failures.check('192.0.2.1'), {
    code: 'too_many_failures',
    status: 429,
    retryAfterSeconds: 20,
  });
  clock.nowMs += 20_000;
  t.doesNotThrow(() => failures.check('192.0.2.1'));
});

t.test('failures beyond the last do not lengthen the wait', async (t) => {
  const { failures } = failing();
  for (let count = 0; count < 100; count += 1) failures.record('192.0.2.1');
  t.throws(() => failures.check('192.0.2.1'), { code: 'too_many_failures', retryAfterSeconds: 20 });
});

t.test('other addresses are not held to it', async (t) => {
  const { failures } = failing();
  for (let count = 0; count < 3; count += 1) failures.record('192.0.2.1');
  t.doesNotThrow(() => failures.check('192.0.2.2'));
});

t.test('attack 34: the addresses of an IPv6 /64 are one', async (t) => {
  const { failures } = failing();
  for (const host of ['1', '2', 'ffff:1:2:3'])
    failures.record(`2001:db8:0:1::${host}`.replace('1::ffff', '1:ffff'));
  t.throws(() => failures.check('2001:db8:0:1:aaaa::9'), { code: 'too_many_failures' });
  t.doesNotThrow(() => failures.check('2001:db8:0:2::1'));
});
