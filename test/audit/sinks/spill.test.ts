/** Lines on disk for a receiver that is away. */
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { HttpReceiver } from '../../support/http-receiver.ts';
import { deduplicated, delivering, httpSink, lineOf, numbersIn, range, until } from './delivering.ts';

const bufferBytes = 64 * 1024;
const bytesMax = 64 * 1024 * 1024;

t.test('what memory cannot hold waits on disk, and is delivered in order', async (t) => {
  const path = join(t.testdir(), 'spill');
  const receiver = await HttpReceiver.start(t);
  await receiver.kill();
  const sink = await delivering(t, {
    receiver: httpSink(receiver.url),
    bufferBytes,
    spill: { path, bytesMax },
  });
  for (const number of range(5_000)) {
    sink.delivery.offer(lineOf(number));
    if (number % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  t.equal(sink.dropped, 0);
  await until(() => readdirSync(path).length > 0);
  t.equal(statSync(path).mode & 0o777, 0o700);
  await receiver.start();
  for (const number of range(100, 5_000)) sink.delivery.offer(lineOf(number));
  await until(() => sink.delivered >= 5_100);
  t.strictSame(deduplicated(numbersIn(receiver.lines)), range(5_100));
  t.strictSame(readdirSync(path), [], 'nothing is left behind');
});

t.test('what is left when a process ends is delivered by the next one, in order', async (t) => {
  const path = join(t.testdir(), 'spill');
  const receiver = await HttpReceiver.start(t);
  await receiver.kill();
  for (const round of range(3)) {
    const sink = await delivering(t, {
      receiver: httpSink(receiver.url),
      bufferBytes,
      spill: { path, bytesMax },
    });
    for (const number of range(1_000, round * 1_000)) sink.delivery.offer(lineOf(number));
    await sink.delivery.close();
    t.equal(sink.dropped, 0);
  }
  await receiver.start();
  const last = await delivering(t, {
    receiver: httpSink(receiver.url),
    bufferBytes,
    spill: { path, bytesMax },
  });
  last.delivery.offer(lineOf(3_000));
  await until(() => receiver.lines.length >= 3_001);
  t.strictSame(deduplicated(numbersIn(receiver.lines)), range(3_001));
});

t.test('a segment that was delivered in part comes again as a whole', async (t) => {
  const path = join(t.testdir(), 'spill');
  const receiver = await HttpReceiver.start(t);
  await receiver.kill();
  const options = { bufferBytes, batchBytes: 8_192, spill: { path, bytesMax } };
  const first = await delivering(t, { receiver: httpSink(receiver.url), ...options });
  for (const number of range(1_000)) first.delivery.offer(lineOf(number));
  await first.delivery.close();
  await receiver.start();
  receiver.behave = () => (receiver.taken.length < 20 ? 'take' : { status: 503 });
  const second = await delivering(t, { receiver: httpSink(receiver.url), ...options });
  await until(() => second.ups.includes(false));
  for (const number of range(10, 1_000)) second.delivery.offer(lineOf(number));
  await second.delivery.close();
  receiver.behave = () => 'take';
  const third = await delivering(t, { receiver: httpSink(receiver.url), ...options });
  await until(() => deduplicated(numbersIn(receiver.lines)).length === 1_010);
  t.strictSame(deduplicated(numbersIn(receiver.lines)), range(1_010));
  t.equal(second.dropped + third.dropped, 0);
});

t.test('a full folder drops the newest, and counts them', async (t) => {
  const path = join(t.testdir(), 'spill');
  const receiver = await HttpReceiver.start(t);
  await receiver.kill();
  const sink = await delivering(t, {
    receiver: httpSink(receiver.url),
    bufferBytes,
    spill: { path, bytesMax: 1024 * 1024 },
  });
  for (const number of range(5_000)) sink.delivery.offer(lineOf(number));
  t.ok(sink.dropped > 2_000, `${sink.dropped} dropped`);
  const kept = 5_000 - sink.dropped;
  await receiver.start();
  await until(() => sink.delivered === kept);
  t.strictSame(deduplicated(numbersIn(receiver.lines)), range(kept));
});

t.test('a line that a crash tore is left out', async (t) => {
  const path = join(t.testdir(), 'spill');
  const receiver = await HttpReceiver.start(t);
  await receiver.kill();
  const options = { bufferBytes, spill: { path, bytesMax } };
  const first = await delivering(t, { receiver: httpSink(receiver.url), ...options });
  for (const number of range(10)) first.delivery.offer(lineOf(number));
  await first.delivery.close();
  const [name = ''] = readdirSync(path);
  appendFileSync(join(path, name), lineOf(10).slice(0, 100));
  await receiver.start();
  await delivering(t, { receiver: httpSink(receiver.url), ...options });
  await until(() => receiver.lines.length >= 10);
  t.strictSame(numbersIn(receiver.lines), range(10));
});

t.test(
  'a segment that cannot be read is neither removed nor passed over: it comes when it can be',
  async (t) => {
    const path = join(t.testdir(), 'spill');
    const receiver = await HttpReceiver.start(t);
    await receiver.kill();
    const options = { bufferBytes, spill: { path, bytesMax } };
    const first = await delivering(t, { receiver: httpSink(receiver.url), ...options });
    for (const number of range(10)) first.delivery.offer(lineOf(number));
    await first.delivery.close();
    const [name = ''] = readdirSync(path);
    const segment = join(path, name);
    const text = readFileSync(segment);
    // A folder in its place cannot be read, not even by root.
    rmSync(segment);
    mkdirSync(segment);
    await receiver.start();
    const second = await delivering(t, { receiver: httpSink(receiver.url), ...options });
    await until(() => second.ups.includes(false));
    second.delivery.offer(lineOf(10));
    t.strictSame(receiver.lines, []);
    rmdirSync(segment);
    writeFileSync(segment, text);
    await until(() => receiver.lines.length >= 11);
    t.strictSame(deduplicated(numbersIn(receiver.lines)), range(11));
    t.equal(second.dropped, 0);
  },
);
