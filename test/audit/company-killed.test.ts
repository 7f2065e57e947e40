/** One of several processes that write to one file is killed: in the middle of a line, or as the file is rotated away. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog, headerLine } from '../../src/audit/log.ts';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { bareRecord } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import { linesOf, signingKey, verdictOf } from '../support/audit.ts';

async function openWriter(test: Test, path: string, { bytesMax }: { bytesMax?: number } = {}) {
  const line = (stage: 'file' | 'joined') => (header: Parameters<typeof headerLine>[0]) =>
    headerLine(header, 'replica', signingKey, systemClock, stage);
  const sink = await FileSink.open({
    path,
    fsync: false,
    onUp: () => undefined,
    header: line('file'),
    company: { joined: line('joined') },
    ...(bytesMax !== undefined && {
      rotation: {
        bytesMax,
        ageMsMax: undefined,
        keep: undefined,
        clock: systemClock,
        onRotated: () => undefined,
      },
    }),
  });
  const context = { replica: 'replica', configDigest: 'digest', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, key: signingKey, clock: systemClock });
  test.teardown(() => audit.close().catch(() => undefined));
  const record = bareRecord(systemClock.wallMs(), '11111111-1111-4111-8111-111111111111', '192.0.2.1');
  const write = async (count: number) => {
    for (let index = 0; index < count; index += 1) audit.append(record);
    await audit.flush();
  };
  const sign = async () => {
    await audit.signNow();
    await audit.flush();
  };
  return { audit, sink, write, sign };
}

const filesOf = async (path: string) => [...(await rotatedFiles(path)), path];

/** Half a line of a third one, and another one's batch behind it before anybody has looked. */
async function withHalfALine(test: Test): Promise<string> {
  const path = join(test.testdir(), 'audit.log');
  const leader = await openWriter(test, path, { bytesMax: 1e9 });
  const follower = await openWriter(test, path);
  await leader.write(1);
  await follower.write(1);
  await leader.sign();
  await follower.sign();
  const whole = linesOf(path).at(-1) ?? '';
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
    ['torn'],
  );
  t.equal(linesOf(path).filter((line) => line.includes('"stage":"complete"')).length, 8);
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
  const path = join(t.testdir(), 'audit.log');
  const leader = await openWriter(t, path, { bytesMax: 4_000 });
  const killed = await openWriter(t, path);
  const follower = await openWriter(t, path);
  await killed.write(1);
  await killed.sign();
  await follower.write(1);
  await killed.write(1);
  const late = linesOf(path).at(-1) ?? '';
  // It is about to write when the file goes: what it writes then is written here.
  const without = readFileSync(path, 'utf8').slice(0, -`\n${late}\n`.length);
  writeFileSync(path, without);
  await leader.write(8);
  await leader.write(8);
  const [first = ''] = await rotatedFiles(path);
  await follower.write(1);
  appendFileSync(first, `\n${late}\n`);
  await killed.sink.close();
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
  const path = join(t.testdir(), 'audit.log');
  const leader = await openWriter(t, path, { bytesMax: 4_000 });
  const follower = await openWriter(t, path);
  await leader.write(1);
  await leader.sign();
  await follower.write(1);
  await leader.write(8);
  await leader.write(8);
  await leader.sink.close();
  for (let turn = 0; turn < 3; turn += 1) {
    await follower.write(1);
    await follower.sign();
  }
  await follower.audit.close();
  const files = await filesOf(path);
  t.ok(files.length > 1);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, vouched: 16 });
});
