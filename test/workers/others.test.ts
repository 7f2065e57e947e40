/** A worker's word to the others that something was revoked. */
import t from 'tap';
import { workerAnswerMs } from '../../src/limits.ts';
import type { ToPrimary } from '../../src/workers/messages.ts';
import { Others } from '../../src/workers/others.ts';

t.test('a change waits until the others have looked, each for its own', async (t) => {
  const sent: ToPrimary[] = [];
  const others = new Others((message) => void sent.push(message));
  const done: string[] = [];
  const first = others.catchUp().then(() => done.push('first'));
  const second = others.catchUp().then(() => done.push('second'));
  t.strictSame(sent, [
    { kind: 'changed', id: 1 },
    { kind: 'changed', id: 2 },
  ]);
  others.caughtUp(2);
  await second;
  t.strictSame(done, ['second']);
  others.caughtUp(1);
  await first;
  t.strictSame(done, ['second', 'first']);
});

t.test('nobody waits for ever for one that does not answer, and a late answer is nothing', async (t) => {
  const others = new Others(() => undefined);
  const askedMs = performance.now();
  await others.catchUp();
  t.ok(performance.now() - askedMs >= workerAnswerMs - 10);
  others.caughtUp(1);
});
