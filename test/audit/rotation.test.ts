/** Files that make way for the next one: nothing is lost, doubled or left unproven at the seam. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileSink, type Rotation } from '../../src/audit/file-sink.ts';
import { AuditLog, headerLine } from '../../src/audit/log.ts';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { bareRecord } from '../../src/audit/record.ts';
import { linesOf, schemaFault, signingKey, verdictOf } from '../support/audit.ts';
import { FakeClock } from '../support/fake-clock.ts';

async function openLog(test: Test, path: string, limits: Partial<Rotation>) {
  const clock = new FakeClock();
  const told: Array<[file: string, error: unknown]> = [];
  const rotation: Rotation = {
    bytesMax: 1e9,
    ageMsMax: undefined,
    keep: undefined,
    clock,
    onRotated: (...what) => told.push(what),
    ...limits,
  };
  const sink = await FileSink.open({
    path,
    fsync: false,
    rotation,
    onUp: () => undefined,
    header: (given) => headerLine(given, 'test', signingKey, clock),
    joined: (given) => headerLine(given, 'test', signingKey, clock, 'joined'),
  });
  const context = { replica: 'test', configDigest: 'digest', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, key: signingKey, clock });
  test.teardown(() => audit.close().catch(() => undefined));
  const record = bareRecord(clock.wallMs(), '11111111-1111-4111-8111-111111111111', '192.0.2.1');
  const write = async (count: number) => {
    for (let index = 0; index < count; index += 1) audit.append(record);
    await audit.flush();
  };
  const files = async () => [...(await rotatedFiles(path)), path];
  return { audit, sink, clock, told, write, files };
}

const records = (files: readonly string[]) =>
  files.flatMap(linesOf).filter((line) => line.includes('"stage":"complete"')).length;

t.test('by size: every record is in one of the files, each private, each proven', async (t) => {
  const log = await openLog(t, join(t.testdir(), 'audit.log'), { bytesMax: 3_000 });
  for (let turn = 0; turn < 10; turn += 1) await log.write(3);
  await log.audit.close();
  const files = await log.files();
  t.ok(files.length > 3);
  t.equal(records(files), 30);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, notes: [] });
  for (const file of files) {
    t.equal(statSync(file).mode & 0o777, 0o600);
    t.ok(statSync(file).size <= 3_600);
    for (const line of linesOf(file)) t.equal(schemaFault(line), undefined);
  }
});

t.test('by age, counted from when the file was begun, by whichever process', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const first = await openLog(t, path, { ageMsMax: 60_000 });
  await first.write(1);
  await first.audit.close();
  t.equal((await first.files()).length, 1);
  const second = await openLog(t, path, { ageMsMax: 60_000 });
  second.clock.nowMs += 61_000;
  await second.write(1);
  const files = await second.files();
  t.equal(files.length, 2);
  await second.audit.close();
  t.match(verdictOf(files), { fault: undefined, unproven: 0 });
});

t.test('only so many are kept, and those that are left can be verified', async (t) => {
  const log = await openLog(t, join(t.testdir(), 'audit.log'), { bytesMax: 2_000, keep: 2 });
  for (let turn = 0; turn < 12; turn += 1) await log.write(3);
  await log.audit.close();
  const files = await log.files();
  t.equal(files.length, 3);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, notes: [{ kind: 'earlier_files' }] });
});

t.test('something else may rotate as well: a rename and a SIGHUP', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const log = await openLog(t, path, {});
  await log.write(3);
  renameSync(path, `${path}.old`);
  log.audit.reopen();
  await log.write(3);
  await log.audit.close();
  t.match(verdictOf([`${path}.old`, path]), { fault: undefined, unproven: 0, notes: [] });
  writeFileSync(
    `${path}.old`,
    readFileSync(`${path}.old`, 'utf8').split('\n').slice(0, 3).join('\n').concat('\n'),
  );
  t.match(verdictOf([`${path}.old`, path]).fault, { kind: /cut_off|removed/ });
});

t.test('a SIGHUP without a rename goes on in the same file', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const log = await openLog(t, path, {});
  await log.write(3);
  log.audit.reopen();
  await log.write(3);
  await log.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0, notes: [] });
});

t.test('a SIGHUP without a rename, a restart and a rotation: no two files have one number', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  for (let process = 0; process < 3; process += 1) {
    const log = await openLog(t, path, { bytesMax: 6_000 });
    await log.write(3);
    log.audit.reopen();
    await log.write(3);
    await log.audit.close();
  }
  const files = [...(await rotatedFiles(path)), path];
  t.ok(files.length > 1);
  t.match(verdictOf(files), { fault: undefined, unproven: 0, notes: [] });
});

t.test(
  'a command that is quicker than the gateway to begin the next file: the gateway joins it',
  async (t) => {
    const path = join(t.testdir(), 'audit.log');
    const log = await openLog(t, path, {});
    await log.write(3);
    renameSync(path, `${path}.000001`);
    const command = await openLog(t, path, {});
    await command.write(1);
    log.audit.reopen();
    await log.write(3);
    await command.audit.close();
    await log.audit.close();
    const next = await openLog(t, path, {});
    renameSync(path, `${path}.000002`);
    next.audit.reopen();
    await next.write(1);
    await next.audit.close();
    const files = [...(await rotatedFiles(path)), path];
    t.equal(files.length, 3);
    t.match(verdictOf(files), { fault: undefined, unproven: 0, notes: [] });
    t.match(verdictOf(files.slice(1)), { fault: undefined, unproven: 0 });
  },
);

t.test(
  'a new process goes on after files that were rotated away, although the last one is gone',
  async (t) => {
    const path = join(t.testdir(), 'audit.log');
    const first = await openLog(t, path, { bytesMax: 2_000 });
    for (let turn = 0; turn < 6; turn += 1) await first.write(3);
    await first.audit.close();
    const before = await first.files();
    const kept = `${path}.kept`;
    renameSync(path, kept);
    const second = await openLog(t, path, {});
    await second.write(2);
    await second.audit.close();
    t.match(verdictOf([...before.slice(0, -1), path]).fault, undefined);
    t.match(
      verdictOf([...before.slice(0, -1), kept, path]).fault,
      { kind: 'reordered' },
      'two files of one number cannot both be of this log',
    );
  },
);

t.test('a rotation that cannot be: the file goes on, it is told, and tried again later', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const log = await openLog(t, path, { bytesMax: 3_000 });
  await log.write(3);
  // Away from under it: there is nothing to rename.
  renameSync(path, `${path}.away`);
  await log.write(3);
  t.equal(log.sink.up, true);
  t.equal(records([`${path}.away`]), 6);
  t.match(log.told, [[path, { code: 'ENOENT' }]]);
  await log.write(3);
  t.equal(log.told.length, 1, 'not at every write');
  renameSync(`${path}.away`, path);
  log.clock.nowMs += 61_000;
  await log.write(3);
  t.ok(existsSync(`${path}.000001`));
  await log.audit.close();
  t.match(verdictOf(await log.files()), { fault: undefined, unproven: 0 });
});

t.test('a file of that name that is there already is not replaced', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const log = await openLog(t, path, { bytesMax: 3_000 });
  await log.write(3);
  writeFileSync(`${path}.000001`, 'precious');
  await log.write(3);
  t.equal(readFileSync(`${path}.000001`, 'utf8'), 'precious');
  t.ok(existsSync(`${path}.000002`));
});

t.test('after a folder came back, the chain goes on in a file of its own', async (t) => {
  const folder = join(t.testdir(), 'logs');
  mkdirSync(folder);
  const path = join(folder, 'audit.log');
  const log = await openLog(t, path, {});
  await log.write(3);
  rmSync(folder, { recursive: true });
  log.audit.reopen();
  await log.write(2);
  t.equal(log.sink.up, false);
  mkdirSync(folder);
  await log.write(1);
  await log.audit.close();
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 0, notes: [{ kind: 'earlier_files' }] });
  t.equal(records([path]), 3);
});
