/** What several processes write is never called forged, whatever moment they are killed in, and whichever files are left. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { bareRecord } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import { linesOf, verdictOf } from '../support/audit.ts';
import { asFollower, asLeader, filesOf, logPath, openWriter, type Writer } from '../support/company.ts';

/** A worker that was about to write when the file was rotated away, and has written there since. */
async function withALateLine(test: Test, path: string, half: number | undefined) {
  const leader = await openWriter(test, path, { ...asLeader, rotates: 4_000 });
  const killed = await openWriter(test, path, asFollower);
  for (const writer of [leader, killed]) {
    await writer.write(1);
    await writer.sign();
  }
  await killed.write(1);
  const late = linesOf(path).at(-1) ?? '';
  writeFileSync(path, readFileSync(path, 'utf8').slice(0, -`${late}\n`.length));
  for (let turn = 0; turn < 2; turn += 1) await leader.write(8);
  const [first = ''] = await filesOf(path);
  appendFileSync(first, half === undefined ? `${late}\n` : late.slice(0, half));
  await killed.kill();
  return leader;
}

async function goOn(writers: readonly Writer[]) {
  for (let turn = 0; turn < 3; turn += 1) {
    for (const writer of writers) {
      await writer.write(1);
      await writer.sign();
    }
  }
  for (const writer of writers) await writer.audit.close();
}

t.test('what a killed one has left in a file that is gone by now is nobody’s fault', async (t) => {
  const path = logPath(t);
  const leader = await withALateLine(t, path, undefined);
  await goOn([leader]);
  const files = await filesOf(path);
  t.match(verdictOf(files), { fault: undefined, vouched: 1 });
  t.match(verdictOf(files.slice(1)), { fault: undefined, unproven: 0 });
});

t.test('all are killed in the moment of a rotation: who comes next vouches for both files', async (t) => {
  for (const half of [undefined, 50]) {
    const path = logPath(t);
    const leader = await withALateLine(t, path, half);
    await leader.kill();
    await goOn([await openWriter(t, path, asLeader), await openWriter(t, path, asFollower)]);
    const files = await filesOf(path);
    t.match(verdictOf(files), { fault: undefined });
    t.ok(verdictOf(files).vouched > 0);
    t.match(verdictOf(files.slice(1)), { fault: undefined });
  }
});

t.test('all are killed, and one of them had long been silent when the others wrote much', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const silent = await openWriter(t, path, asFollower);
  for (const writer of [silent, leader]) {
    await writer.write(1);
    await writer.sign();
  }
  await silent.write(1);
  const record = bareRecord(systemClock.wallMs(), '11111111-1111-4111-8111-111111111111', '192.0.2.1');
  for (let count = 0; count < 900; count += 1)
    leader.audit.append({ ...record, user_agent: 'x'.repeat(1_000), path: `/${'y'.repeat(1_000)}` });
  await leader.audit.flush();
  t.ok(readFileSync(path).length > 1.5 * 1024 * 1024);
  for (const writer of [leader, silent]) await writer.kill();
  await goOn([await openWriter(t, path, asLeader), await openWriter(t, path, asFollower)]);
  t.match(verdictOf([path]), { fault: undefined });
});

t.test('half a line with another one’s right behind it is told of, however many were', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const follower = await openWriter(t, path, asFollower);
  await goOn([]);
  for (const writer of [leader, follower]) {
    await writer.write(1);
    await writer.sign();
  }
  const killed = await openWriter(t, path, asFollower);
  await killed.write(1);
  await killed.sign();
  await killed.kill();
  await follower.write(2);
  const text = readFileSync(path, 'utf8');
  const [last = ''] = linesOf(path).slice(-1);
  // As if it had been written in the moment between the other one's look and its write.
  const half = (linesOf(path)[1] ?? '').slice(0, 90);
  writeFileSync(path, `${text.slice(0, -`${last}\n`.length)}${half}${last}\n`);
  await goOn([leader, follower]);
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 0, vouched: 1 });
  t.match(verdict.notes.map(({ kind }) => kind).sort(), ['open_chain', 'torn']);
});

t.test('there are no empty lines where nobody was killed', async (t) => {
  const path = logPath(t);
  await goOn([
    await openWriter(t, path, { ...asLeader, rotates: 4_000 }),
    await openWriter(t, path, asFollower),
    await openWriter(t, path, asFollower),
  ]);
  for (const file of await filesOf(path)) t.notMatch(readFileSync(file, 'utf8'), /\n\n/);
});
