import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Breaker } from '../../src/bucket/breaker.ts';
import { RedisFault } from '../../src/redis/fault.ts';
import { until } from '../support/redis.ts';

const late = new RedisFault('no answer');

/** A breaker, what it said, and how often it asked; `answers` is whether Redis does. */
function make(t: Test, answers: () => boolean) {
  const said: Array<string | undefined> = [];
  const state = { probes: 0, atOnce: 0, atOnceMax: 0 };
  const breaker = new Breaker(
    async () => {
      state.probes += 1;
      state.atOnce += 1;
      state.atOnceMax = Math.max(state.atOnceMax, state.atOnce);
      await delay(5);
      state.atOnce -= 1;
      if (!answers()) throw late;
    },
    (fault) => said.push(fault?.message),
  );
  t.teardown(() => breaker.close());
  return { breaker, said, state };
}

t.test('one late answer, or two, is no outage; three in a row are', async (t) => {
  const { breaker, said } = make(t, () => false);
  breaker.failed(late);
  breaker.failed(late);
  breaker.succeeded();
  breaker.failed(late);
  breaker.failed(late);
  t.equal(breaker.isOpen, false);
  breaker.failed(late);
  t.equal(breaker.isOpen, true);
  t.strictSame(said, ['no answer']);
});

t.test('a Redis that says it cannot is believed at once', async (t) => {
  const { breaker } = make(t, () => false);
  breaker.failed(new RedisFault('READONLY You can not write', 'READONLY'));
  t.equal(breaker.isOpen, true);
});

t.test('it closes by itself once there is an answer, after one question at a time', async (t) => {
  let answers = false;
  const { breaker, said, state } = make(t, () => answers);
  breaker.open(late);
  for (let index = 0; index < 50; index += 1) void breaker.tryNow();
  await until(() => state.probes >= 2);
  t.equal(breaker.isOpen, true);
  answers = true;
  await until(() => !breaker.isOpen);
  t.equal(state.atOnceMax, 1);
  t.strictSame(said, ['no answer', undefined]);
});

t.test('one that is closed for good asks no more', async (t) => {
  const { breaker, state } = make(t, () => false);
  breaker.open(late);
  breaker.close();
  await breaker.tryNow();
  await delay(600);
  t.equal(state.probes, 0);
});
