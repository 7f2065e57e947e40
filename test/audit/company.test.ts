/** Several processes that write to one file all the time, workers of one gateway: one rotates it, the others go after it. */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { linesOf, schemaFault, verdictOf } from '../support/audit.ts';
import { asFollower, asLeader, filesOf, logPath, openWriter } from '../support/company.ts';

const records = (files: readonly string[]) =>
  files.flatMap(linesOf).filter((line) => line.includes('"stage":"complete"')).length;

async function rotatedByTwo(test: Test) {
  const path = logPath(test);
  const leader = await openWriter(test, path, { ...asLeader, rotates: 4_000 });
  const follower = await openWriter(test, path, asFollower);
  for (let turn = 0; turn < 12; turn += 1) {
    await leader.write(2);
    await leader.audit.signNow();
    await follower.write(2);
    if (turn % 3 === 0) await follower.audit.signNow();
  }
  await follower.audit.close();
  await leader.audit.close();
  return filesOf(path);
}

t.test('every record of both is in one of the files, and each is proven', async (t) => {
  const files = await rotatedByTwo(t);
  t.ok(files.length > 3);
  t.equal(records(files), 48);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, notes: [] });
  for (const line of files.flatMap(linesOf)) t.equal(schemaFault(line), undefined);
});

t.test('any of the files and those after it can be verified alone', async (t) => {
  const files = await rotatedByTwo(t);
  for (let from = 1; from < files.length; from += 1)
    t.match(verdictOf(files.slice(from)), { fault: undefined, unproven: 0 }, `from file ${from + 1} on`);
});

t.test('one that was silent for several files goes on in the one of now', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, { ...asLeader, rotates: 2_000, keep: 2 });
  const follower = await openWriter(t, path, asFollower);
  await follower.write(1);
  await follower.audit.signNow();
  for (let turn = 0; turn < 10; turn += 1) await leader.write(3);
  await follower.write(1);
  await follower.audit.close();
  await leader.audit.close();
  const files = await filesOf(path);
  t.equal(files.length, 3);
  t.match(verdictOf(files), { fault: undefined, unproven: 0 });
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
});

t.test('something else may rotate: both go on in the file that the leader begins', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const follower = await openWriter(t, path, asFollower);
  await leader.write(2);
  await follower.write(2);
  renameSync(path, `${path}.old`);
  follower.audit.reopen();
  await follower.write(1);
  t.equal(records([`${path}.old`]), 5, 'nothing is lost while the next file is not begun');
  leader.audit.reopen();
  await leader.write(1);
  await follower.write(1);
  t.equal(records([path]), 2);
  await follower.audit.close();
  await leader.audit.close();
  t.match(verdictOf([`${path}.old`, path]), { fault: undefined, unproven: 0 });
});

t.test('one that is killed among others is vouched for by whoever comes next', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const killed = await openWriter(t, path, asFollower);
  await killed.write(1);
  await killed.audit.signNow();
  await leader.write(1);
  await killed.write(1);
  // Those that run beside it sign all the time.
  await leader.audit.signNow();
  await killed.write(1);
  await leader.audit.signNow();
  await killed.write(1);
  await killed.sink.close();
  t.match(verdictOf([path]), { fault: undefined }, 'nobody is accused while the others have yet to look');
  await leader.audit.signNow();
  await leader.audit.flush();
  const next = await openWriter(t, path, asFollower);
  await next.write(1);
  await next.audit.signNow();
  const before = readFileSync(path);
  await next.audit.close();
  await leader.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0, vouched: 3 });
  t.ok(before.length > 0);
});

t.test(
  'what is added to the chain of a dead one, once its successor has signed, stays unproven',
  async (t) => {
    const path = logPath(t);
    const leader = await openWriter(t, path, asLeader);
    const killed = await openWriter(t, path, asFollower);
    await killed.write(1);
    await killed.audit.signNow();
    await killed.audit.flush();
    const next = await openWriter(t, path, asFollower);
    await next.write(1);
    await next.audit.signNow();
    await next.audit.flush();
    // Whoever can write to the file knows all that a chain is made of but the key.
    await killed.write(2);
    await killed.sink.close();
    await leader.write(1);
    await leader.audit.close();
    await next.audit.close();
    t.match(verdictOf([path]), { fault: undefined, unproven: 2, vouched: 0 });
  },
);

t.test('half a line of one that was killed is ended by those beside it', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const follower = await openWriter(t, path, asFollower);
  await leader.write(1);
  await follower.write(1);
  const whole = linesOf(path).at(-1) ?? '';
  await follower.audit.signNow();
  await follower.audit.flush();
  const killed = await openWriter(t, path, asFollower);
  await killed.write(1);
  await killed.sign();
  await killed.kill();
  appendFileSync(path, whole.slice(0, 100));
  await leader.audit.signNow();
  await leader.write(1);
  for (let turn = 0; turn < 3; turn += 1) {
    await follower.write(1);
    await follower.audit.signNow();
  }
  await follower.audit.close();
  await leader.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
});

t.test('a joining line stands for no other file, and begins none', async (t) => {
  const files = await rotatedByTwo(t);
  const joined = (file: string) => linesOf(file).find((line) => line.includes('"stage":"joined"')) ?? '';
  const [, second = '', third = ''] = files;
  t.not(joined(second), '');
  const lines = linesOf(second);
  writeFileSync(second, `${[...lines.slice(0, 1), joined(third), ...lines.slice(1)].join('\n')}\n`);
  t.match(verdictOf(files).fault, { kind: 'reordered', line: 2 });
  const from = lines.indexOf(joined(second));
  writeFileSync(second, `${lines.slice(from).join('\n')}\n`);
  t.match(verdictOf(files.slice(1)).fault, { kind: 'beginning', line: 1 });
});
