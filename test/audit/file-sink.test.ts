import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  createReadStream,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { FileSink } from '../../src/audit/file-sink.ts';
import { auditBufferBytesMax, auditFlushMs } from '../../src/limits.ts';

interface Opened {
  readonly sink: FileSink;
  readonly path: string;
  /** Every change of `up`, in order. */
  readonly ups: boolean[];
}

async function openSink(test: Test, path = join(test.testdir(), 'audit.log'), fsync = true): Promise<Opened> {
  const ups: boolean[] = [];
  const sink = await FileSink.open({ path, fsync, onUp: (up) => ups.push(up) });
  test.teardown(() => sink.close().catch(() => undefined));
  return { sink, path, ups };
}

const bufferFull = { message: 'the audit buffer takes no more' };
const lines = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const numbers = (count: number) => Array.from({ length: count }, (_, index) => String(index));

t.test('the file is readable by its owner alone', async (t) => {
  const { path } = await openSink(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('folders on the way are made', async (t) => {
  const { path, sink } = await openSink(t, join(t.testdir(), 'a', 'b', 'audit.log'));
  await sink.appendDurable('x\n');
  t.strictSame(lines(path), ['x']);
});

t.test('a durable line is in the file when its promise resolves', async (t) => {
  const { sink, path } = await openSink(t);
  await sink.appendDurable('one\n');
  t.strictSame(lines(path), ['one']);
});

t.test('a durable line waits for no other: one after the other, each is written at once', async (t) => {
  const { sink, path } = await openSink(t);
  for (const number of numbers(50)) await sink.appendDurable(`${number}\n`);
  t.strictSame(lines(path), numbers(50));
});

t.test('lines appended from the very turn in which another was written are not forgotten', async (t) => {
  const { sink, path } = await openSink(t);
  for (let depth = 0; depth < 8; depth += 1) {
    await sink.appendDurable('first\n');
    for (let turn = 0; turn < depth; turn += 1) await undefined;
    await sink.appendDurable('second\n');
  }
  t.equal(lines(path).length, 16);
});

t.test('a buffered line is in the file soon, by itself', async (t) => {
  const { sink, path } = await openSink(t);
  t.equal(sink.append('one\n'), true);
  await sleep(auditFlushMs * 2);
  t.strictSame(lines(path), ['one']);
});

t.test('order is kept when buffered and durable lines come together', async (t) => {
  const { sink, path } = await openSink(t);
  const waiting: Promise<void>[] = [];
  for (const number of numbers(2_000)) {
    if (Number(number) % 3 === 0) waiting.push(sink.appendDurable(`${number}\n`));
    else sink.append(`${number}\n`);
    if (Number(number) % 97 === 0) await new Promise(setImmediate);
  }
  await Promise.all(waiting);
  await sink.flush();
  t.strictSame(lines(path), numbers(2_000));
});

t.test('what stands in the file stays, and a torn last line is ended', async (t) => {
  const path = join(t.testdir({ 'audit.log': '{"whole":1}\n{"torn":' }), 'audit.log');
  const { sink } = await openSink(t, path);
  await sink.appendDurable('next\n');
  t.strictSame(lines(path), ['{"whole":1}', '{"torn":', 'next']);
});

t.test('a last line that is whole is not ended twice', async (t) => {
  const path = join(t.testdir({ 'audit.log': '{"whole":1}\n' }), 'audit.log');
  const { sink } = await openSink(t, path);
  await sink.appendDurable('next\n');
  t.strictSame(lines(path), ['{"whole":1}', 'next']);
});

t.test('after a rename, lines go on into the old file until it is opened anew', async (t) => {
  const { sink, path } = await openSink(t);
  await sink.appendDurable('one\n');
  renameSync(path, `${path}.1`);
  await sink.appendDurable('two\n');
  t.strictSame(lines(`${path}.1`), ['one', 'two']);
  sink.reopen();
  await sink.appendDurable('three\n');
  t.strictSame(lines(`${path}.1`), ['one', 'two']);
  t.strictSame(lines(path), ['three']);
});

t.test('reopening in the middle of traffic loses and doubles nothing', async (t) => {
  const { sink, path } = await openSink(t);
  const waiting: Promise<void>[] = [];
  for (const number of numbers(300)) {
    waiting.push(sink.appendDurable(`${number}\n`));
    if (number === '150') {
      await new Promise(setImmediate);
      renameSync(path, `${path}.1`);
      sink.reopen();
    }
  }
  await Promise.all(waiting);
  t.strictSame([...lines(`${path}.1`), ...lines(path)], numbers(300));
});

t.test('asked to reopen while it writes, it does so without waiting for a line', async (t) => {
  const { sink, path } = await openSink(t);
  const written = sink.appendDurable('one\n');
  renameSync(path, `${path}.1`);
  sink.reopen();
  await written;
  await sink.flush();
  t.ok(statSync(path, { throwIfNoEntry: false }), 'the new file is there');
});

t.test('a folder that is gone at reopening: down, then back with every line', async (t) => {
  const folder = join(t.testdir(), 'logs');
  const { sink, path, ups } = await openSink(t, join(folder, 'audit.log'));
  rmSync(folder, { recursive: true });
  sink.reopen();
  await t.rejects(sink.appendDurable('one\n'), { code: 'ENOENT' });
  t.equal(sink.up, false);
  mkdirSync(folder);
  await sink.appendDurable('two\n');
  t.strictSame(lines(path), ['one', 'two']);
  t.strictSame(ups, [false, true]);
});

t.test('closing writes the rest', async (t) => {
  const { sink, path } = await openSink(t);
  for (const number of numbers(100)) sink.append(`${number}\n`);
  await sink.close();
  t.strictSame(lines(path), numbers(100));
});

t.test('a line that comes after closing is refused, not kept waiting', async (t) => {
  const { sink, ups } = await openSink(t);
  await sink.close();
  t.equal(sink.append('late\n'), false);
  await t.rejects(sink.appendDurable('late\n'), bufferFull);
  await sleep(auditFlushMs * 1.5);
  t.strictSame(ups, [], 'nothing was tried on the closed file');
});

/** A path that leads to a full disk first, and to a file once it is mended and reopened. */
async function openOnFullDisk(test: Test): Promise<Opened & { mend(): void }> {
  const folder = test.testdir();
  const path = join(folder, 'audit.log');
  symlinkSync('/dev/full', path);
  const opened = await openSink(test, path);
  return {
    ...opened,
    mend: () => {
      rmSync(path);
      writeFileSync(path, '', { mode: 0o600 });
      opened.sink.reopen();
    },
  };
}

t.test('a full disk: durable lines are refused with its error', async (t) => {
  const { sink } = await openOnFullDisk(t);
  await t.rejects(sink.appendDurable('one\n'), { code: 'ENOSPC' });
});

t.test('a full disk is told once, however often it is tried', async (t) => {
  const { sink, ups } = await openOnFullDisk(t);
  for (const line of ['one\n', 'two\n', 'three\n']) await t.rejects(sink.appendDurable(line));
  t.equal(sink.up, false);
  t.strictSame(ups, [false]);
});

t.test('a full disk: buffered lines are kept and written, in order, once there is room', async (t) => {
  const { sink, path, ups, mend } = await openOnFullDisk(t);
  for (const number of numbers(5)) sink.append(`${number}\n`);
  await sink.flush();
  t.equal(sink.up, false);
  sink.append('5\n');
  mend();
  await sink.appendDurable('6\n');
  t.strictSame(lines(path), numbers(7));
  t.strictSame(ups, [false, true]);
});

t.test('recovery needs no new line: it is tried again by itself', async (t) => {
  const { sink, path, mend } = await openOnFullDisk(t);
  sink.append('one\n');
  await sink.flush();
  mend();
  await sleep(auditFlushMs * 3);
  t.equal(sink.up, true);
  t.strictSame(lines(path), ['one']);
});

t.test('a disk that stays full: the buffer has a bound, and says what it loses', async (t) => {
  const { sink } = await openOnFullDisk(t);
  const line = `${'x'.repeat(64 * 1024 - 1)}\n`;
  const fits = auditBufferBytesMax / line.length;
  for (let index = 0; index < fits; index += 1) t.equal(sink.append(line), true);
  t.equal(sink.append('one more\n'), false);
  await t.rejects(sink.appendDurable('one more\n'), bufferFull);
});

t.test('what was lost to a full buffer is not counted against it later', async (t) => {
  const { sink, path, mend } = await openOnFullDisk(t);
  const half = `${'x'.repeat(auditBufferBytesMax / 2 - 1)}\n`;
  t.equal(sink.append(half), true);
  t.equal(sink.append(half), true);
  t.equal(sink.append(half), false);
  await sink.flush();
  mend();
  await sink.flush();
  t.equal(sink.append(half), true);
  t.equal(sink.append(half), true);
  await sink.flush();
  t.equal(lines(path).length, 4);
});

t.test('a file that cannot be opened at the start is an error at the start', async (t) => {
  await t.rejects(openSink(t, t.testdir()), { code: 'EISDIR' });
});

t.test('a disk that stalls: lines that come in the meantime follow by themselves', async (t) => {
  const path = join(t.testdir(), 'pipe');
  execFileSync('mkfifo', [path]);
  const { sink } = await openSink(t, path, false);
  // A pipe holds 64 KiB; what is more waits for its reader.
  const stalled = sink.appendDurable(`${'x'.repeat(256 * 1024)}\n`);
  await sleep(50);
  sink.append('meanwhile\n');
  await sleep(auditFlushMs * 1.5);
  const reader = createReadStream(path, 'utf8');
  let text = '';
  reader.on('data', (chunk) => {
    text += chunk;
  });
  await stalled;
  await sleep(auditFlushMs);
  sink.append('afterwards\n');
  await sleep(auditFlushMs * 2);
  t.strictSame(text.split('\n').slice(1), ['meanwhile', 'afterwards', '']);
  await sink.close();
  if (!reader.closed) await once(reader, 'close');
});

/** The kernel takes no byte of a file beyond so many, as if the disk were full there. */
function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`]);
}

t.test('a line of which the disk took all but its end is ended, not written twice', async (t) => {
  const { sink, path } = await openSink(t);
  const ignore = () => undefined;
  process.on('SIGXFSZ', ignore);
  t.teardown(() => {
    limitFiles('unlimited');
    process.off('SIGXFSZ', ignore);
  });
  await sink.appendDurable('first\n');
  limitFiles('first\nsecond'.length);
  await t.rejects(sink.appendDurable('second\n'), { code: 'EFBIG' });
  limitFiles('unlimited');
  await sink.appendDurable('third\n');
  t.strictSame(lines(path), ['first', 'second', 'third']);
});
