/** Delivery to a receiver over HTTP: a real one, that is slow, refuses, breaks off, dies and comes back. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { retryAfterMs } from '../../../src/audit/sinks/http.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';
import { makeTlsFiles } from '../../support/redis.ts';
import { deduplicated, delivering, httpSink, lineOf, numbersIn, range, until } from './delivering.ts';

t.test('lines come in batches, in order, once each, with the token', async (t) => {
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url, { token: 'sesame' }) });
  for (const number of range(1_000)) sink.delivery.offer(lineOf(number));
  await sink.delivery.flush();
  t.strictSame(numbersIn(receiver.lines), range(1_000));
  t.ok(receiver.taken.length < 100, `in ${receiver.taken.length} batches`);
  t.match(receiver.taken[0]?.headers, {
    'content-type': 'application/x-ndjson',
    authorization: 'Bearer sesame',
  });
  t.equal(sink.delivered, 1_000);
  t.strictSame(sink.ups, []);
});

t.test('one line alone comes after a moment', async (t) => {
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url) });
  sink.delivery.offer(lineOf(1));
  await until(() => receiver.taken.length === 1);
  t.equal(sink.dropped, 0);
});

t.test('no batch is larger than it may be', async (t) => {
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url), batchBytes: 8_192 });
  for (const number of range(100)) sink.delivery.offer(lineOf(number));
  await sink.delivery.flush();
  for (const { lines } of receiver.taken) t.ok(lines.join('\n').length <= 8_192);
});

t.test('a token in a file is read again for each batch', async (t) => {
  const tokenFile = join(t.testdir(), 'token');
  writeFileSync(tokenFile, 'first\n');
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url, { tokenFile }) });
  for (const token of ['first', 'second']) {
    writeFileSync(tokenFile, `${token}\n`);
    sink.delivery.offer(lineOf(0));
    await sink.delivery.flush();
    t.equal(receiver.taken.at(-1)?.headers.authorization, `Bearer ${token}`);
  }
});

for (const behaviour of [{ status: 500 }, { status: 401 }, { status: 302 }, 'cut_request'] as const) {
  t.test(`a batch is sent again after ${JSON.stringify(behaviour)}`, async (t) => {
    const receiver = await HttpReceiver.start(t);
    receiver.script.push(behaviour, behaviour);
    const sink = await delivering(t, { receiver: httpSink(receiver.url) });
    for (const number of range(50)) sink.delivery.offer(lineOf(number));
    await until(() => sink.delivered === 50);
    t.strictSame(numbersIn(receiver.lines), range(50));
    t.strictSame(sink.ups, [false, true]);
    t.equal(sink.dropped, 0);
  });
}

t.test(
  'an answer that breaks off in the middle says nothing: the batch comes twice rather than never',
  async (t) => {
    const receiver = await HttpReceiver.start(t);
    receiver.script.push('cut_answer');
    const sink = await delivering(t, { receiver: httpSink(receiver.url) });
    for (const number of range(10)) sink.delivery.offer(lineOf(number));
    await until(() => sink.delivered === 10);
    const numbers = numbersIn(receiver.lines);
    t.equal(numbers.length, 20);
    t.strictSame(deduplicated(numbers), range(10));
  },
);

t.test('a receiver that says when to come again is not asked before', async (t) => {
  const receiver = await HttpReceiver.start(t);
  receiver.script.push({ status: 429, headers: { 'retry-after': '2' } });
  const sink = await delivering(t, { receiver: httpSink(receiver.url) });
  sink.delivery.offer(lineOf(0));
  await until(() => sink.delivered === 1);
  const [first, second] = receiver.came;
  t.ok((second?.atMs ?? 0) - (first?.atMs ?? 0) >= 1_950);
});

t.test('Retry-After is seconds or a date', async (t) => {
  t.equal(retryAfterMs('7', 0), 7_000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:01:00 GMT', 0), 60_000);
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:01:00 GMT', 90_000), 0);
  for (const odd of [undefined, '-1', '1e9', 'soon', ['1', '2']]) t.equal(retryAfterMs(odd, 0), 0);
});

t.test('what is too large in one piece comes in smaller ones', async (t) => {
  const receiver = await HttpReceiver.start(t);
  receiver.behave = (lines) => (lines.length > 10 ? { status: 413 } : 'take');
  const sink = await delivering(t, { receiver: httpSink(receiver.url) });
  for (const number of range(100)) sink.delivery.offer(lineOf(number));
  await until(() => sink.delivered === 100);
  t.strictSame(numbersIn(receiver.lines), range(100));
  t.equal(sink.dropped, 0);
});

t.test(
  'one line that the receiver will never have is given up, counted and told; the others arrive',
  async (t) => {
    const receiver = await HttpReceiver.start(t);
    receiver.behave = (lines) => (numbersIn(lines).includes(37) ? { status: 422 } : 'take');
    const sink = await delivering(t, { receiver: httpSink(receiver.url) });
    for (const number of range(100)) sink.delivery.offer(lineOf(number));
    await until(() => sink.delivered === 99);
    t.strictSame(
      numbersIn(receiver.lines),
      range(100).filter((number) => number !== 37),
    );
    t.equal(sink.dropped, 1);
    await sink.delivery.close();
    t.strictSame(sink.told, [1]);
  },
);

t.test('a receiver that is killed and comes back gets everything, in order', async (t) => {
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url) });
  for (const number of range(500)) {
    if (number === 100) await receiver.kill();
    if (number === 300) await receiver.start();
    sink.delivery.offer(lineOf(number));
    if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await until(() => sink.delivered === 500);
  t.strictSame(deduplicated(numbersIn(receiver.lines)), range(500));
});

t.test(
  'a receiver that never answers costs whoever offers nothing, and what it cannot hold is counted',
  async (t) => {
    const receiver = await HttpReceiver.start(t);
    receiver.behave = () => 'hang';
    const sink = await delivering(t, { receiver: httpSink(receiver.url), bufferBytes: 64 * 1024 });
    for (const number of range(1_000)) sink.delivery.offer(lineOf(number));
    t.ok(sink.dropped > 800 && sink.dropped < 1_000, `${sink.dropped} dropped`);
    const kept = 1_000 - sink.dropped;
    await receiver.kill();
    receiver.behave = () => 'take';
    await receiver.start();
    await until(() => sink.delivered === kept);
    t.strictSame(deduplicated(numbersIn(receiver.lines)), range(kept), 'what was kept is the oldest');
  },
);

t.test('what an ending process could not deliver is counted as dropped, within its time', async (t) => {
  const receiver = await HttpReceiver.start(t);
  receiver.behave = () => 'hang';
  const sink = await delivering(t, { receiver: httpSink(receiver.url) });
  for (const number of range(5)) sink.delivery.offer(lineOf(number));
  await sink.delivery.close();
  t.equal(sink.dropped, 5);
  t.strictSame(sink.told, [5]);
});

t.test('an ending process delivers what its receiver takes', async (t) => {
  const receiver = await HttpReceiver.start(t);
  const sink = await delivering(t, { receiver: httpSink(receiver.url), batchMs: 60_000 });
  for (const number of range(5)) sink.delivery.offer(lineOf(number));
  await sink.delivery.close();
  t.strictSame(numbersIn(receiver.lines), range(5));
});

t.test('a receiver that asks for a certificate gets ours, and is believed for its own', async (t) => {
  const files = makeTlsFiles(t);
  const receiver = await HttpReceiver.start(t, {
    ca: readFileSync(files.ca),
    cert: readFileSync(files.cert),
    key: readFileSync(files.key),
    requestCert: true,
    rejectUnauthorized: true,
  });
  const sink = await delivering(t, { receiver: httpSink(receiver.url, { tls: files }) });
  sink.delivery.offer(lineOf(1));
  await until(() => sink.delivered === 1);
  const without = await delivering(t, { receiver: httpSink(receiver.url, { tls: { ca: files.ca } }) });
  without.delivery.offer(lineOf(2));
  await until(() => without.ups.length > 0);
  const strange = await delivering(t, { receiver: httpSink(receiver.url, { tls: {} }) });
  strange.delivery.offer(lineOf(3));
  await until(() => strange.ups.length > 0);
  t.strictSame(numbersIn(receiver.lines), [1]);
});

t.test(
  'NODE_TLS_REJECT_UNAUTHORIZED=0 gives no record and no token to a receiver nobody vouches for',
  async (t) => {
    const files = makeTlsFiles(t);
    const receiver = await HttpReceiver.start(t, {
      cert: readFileSync(files.cert),
      key: readFileSync(files.key),
    });
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    t.teardown(() => {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    });
    const sink = await delivering(t, { receiver: httpSink(receiver.url, { token: 'secret' }) });
    sink.delivery.offer(lineOf(1));
    await until(() => sink.ups.length > 0 || sink.delivered > 0);
    t.strictSame(receiver.lines, []);
  },
);
