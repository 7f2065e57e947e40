/** One of several processes that write to one file is killed: in the middle of a line, or as the file is rotated away. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { linesOf, verdictOf } from '../support/audit.ts';
import { asFollower, asLeader, filesOf, logPath, openWriter } from '../support/company.ts';

/** Half a line of a third one, and another one's batch behind it before anybody has looked. */
async function withHalfALine(test: Test): Promise<string> {
  const path = logPath(test);
  const leader = await openWriter(test, path, asLeader);
  const follower = await openWriter(test, path, asFollower);
  await leader.write(1);
  await follower.write(1);
  await leader.sign();
  await follower.sign();
  const killed = await openWriter(test, path, asFollower);
  await killed.write(1);
  await killed.sign();
  await killed.kill();
  const whole = linesOf(path).at(-2) ?? '';
  appendFileSync(path, whole.slice(0, 100));
  await follower.write(3);
  await leader.write(2);
  await leader.sign();
  await follower.sign();
  await leader.write(1);
  await leader.audit.close();
  await follower.audit.close();
  return path;
}

t.test('what comes behind half a line of a killed one stands on a line of its own', async (t) => {
  const path = await withHalfALine(t);
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 0 });
  t.strictSame(
    verdict.notes.map(({ kind }) => kind),
    ['open_chain', 'torn'],
  );
  t.equal(linesOf(path).filter((line) => line.includes('"stage":"complete"')).length, 9);
});

t.test('empty lines prove nothing and hide nothing', async (t) => {
  const path = await withHalfALine(t);
  const lines = linesOf(path);
  writeFileSync(path, `${lines.join('\n\n\n')}\n\n`);
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
  for (let index = 1; index < lines.length; index += 1) {
    if (!lines[index]?.endsWith('}')) continue;
    writeFileSync(path, `${lines.with(index, '').join('\n\n')}\n`);
    const isLast = index === lines.length - 1;
    if (!isLast) t.not(verdictOf([path]).fault, undefined, `line ${index + 1} is gone`);
    writeFileSync(path, `${lines.with(index, (lines[index] ?? '').slice(0, 90)).join('\n\n')}\n`);
    if (!isLast) t.not(verdictOf([path]).fault, undefined, `line ${index + 1} is cut short`);
  }
});

t.test('half a line that nobody found while they ran is a fault', async (t) => {
  const path = await withHalfALine(t);
  const lines = linesOf(path);
  const forged = lines.toSpliced(2, 0, (lines[1] ?? '').slice(0, 70));
  writeFileSync(path, `${forged.join('\n')}\n`);
  t.match(verdictOf([path]).fault, { kind: 'altered' });
});

t.test('one that writes to a file just rotated away, and is killed, is vouched for', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, { ...asLeader, rotates: 4_000 });
  const killed = await openWriter(t, path, asFollower);
  const follower = await openWriter(t, path, asFollower);
  await killed.write(1);
  await killed.sign();
  await follower.write(1);
  await killed.write(1);
  const late = linesOf(path).at(-1) ?? '';
  // It is about to write when the file goes: what it writes then is written here.
  const without = readFileSync(path, 'utf8').slice(0, -`${late}\n`.length);
  writeFileSync(path, without);
  await leader.write(8);
  await leader.write(8);
  const [first = ''] = await rotatedFiles(path);
  await follower.write(1);
  appendFileSync(first, `${late}\n`);
  await killed.kill();
  for (let turn = 0; turn < 3; turn += 1) {
    await leader.sign();
    await leader.write(1);
    await follower.sign();
    await follower.write(1);
  }
  await leader.audit.close();
  await follower.audit.close();
  t.match(verdictOf(await filesOf(path)), { fault: undefined, unproven: 0, vouched: 1 });
});

t.test('what the leader wrote before a follower came after it, and was killed, is vouched for', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, { ...asLeader, rotates: 4_000 });
  const follower = await openWriter(t, path, asFollower);
  await leader.write(1);
  await leader.sign();
  await follower.write(1);
  await leader.write(8);
  await leader.write(8);
  await leader.kill();
  for (let turn = 0; turn < 3; turn += 1) {
    await follower.write(1);
    await follower.sign();
  }
  await follower.audit.close();
  const files = await filesOf(path);
  t.ok(files.length > 1);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, vouched: 16 });
});
