import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { Recorder } from '../../src/audit/recorder.ts';
import { auditBufferBytesMax } from '../../src/limits.ts';
import { openLog } from '../../src/telemetry/log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { signingKey } from '../support/audit.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A recorder on a file, or on a full disk until it is mended. */
async function openRecorder(
  test: Test,
  disk: 'good' | 'full' = 'good',
  unrecordedReads: 'refuse' | 'allow' = 'refuse',
) {
  const path = join(test.testdir(), 'audit.log');
  if (disk === 'full') symlinkSync('/dev/full', path);
  const metrics = new Metrics({ version: '0', nodeVersion: '0' });
  const sink = await FileSink.open({ path, fsync: false, onUp: () => undefined });
  test.teardown(() => sink.close().catch(() => undefined));
  const context = { replica: 'test', configDigest: 'digest', pseudonyms: noPseudonyms };
  const clock = new FakeClock();
  const audit = new AuditLog({
    ...{ sink, context, clock, key: signingKey },
    tally: (name, taken) => metrics.auditRecord(name, taken),
  });
  const recorder = new Recorder({ audit, metrics, clock, log: openLog('silent'), unrecordedReads });
  const mend = () => {
    rmSync(path);
    writeFileSync(path, '');
    sink.reopen();
  };
  const records = () =>
    readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ stage }) => stage !== 'checkpoint');
  const count = async (name: string) => {
    const line = (await metrics.registry.metrics())
      .split('\n')
      .find((text) => new RegExp(`^portcullis_${name}[{ ]`).test(text));
    return Number(line?.split(' ')[1] ?? 0);
  };
  return { recorder, audit, sink, mend, records, count };
}

const durable = () => exchangeOf({ method: 'POST' }, { route: routeOf({ durable: true }) });
const reading = () => exchangeOf({}, { route: routeOf() });

t.test('a durable attempt is in the file when it may go on', async (t) => {
  const { recorder, records } = await openRecorder(t);
  await recorder.attempt(durable());
  t.match(records(), [{ stage: 'attempt', status_code: null, seq: 1 }]);
});

t.test('attempt and completion have one id', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  const exchange = durable();
  await recorder.attempt(exchange);
  recorder.complete(exchange);
  recorder.writeDown();
  await sink.flush();
  const [attempt, complete] = records();
  t.equal(attempt?.id, complete?.id);
  t.strictSame([attempt?.stage, complete?.stage, complete?.seq], ['attempt', 'complete', 2]);
});

t.test('of a burst no more than 64 are kept until the answers are out', async (t) => {
  const { recorder, count } = await openRecorder(t);
  for (let begun = 0; begun < 130; begun += 1) recorder.begin();
  for (let over = 0; over < 130; over += 1) recorder.complete(reading());
  t.equal(await count('http_requests_in_flight'), 2);
  recorder.writeDown();
  t.equal(await count('http_requests_in_flight'), 0);
});

t.test('a reading route writes one record, at its end', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  const exchange = reading();
  await recorder.attempt(exchange);
  recorder.complete(exchange);
  recorder.writeDown();
  await sink.flush();
  t.strictSame(
    records().map(({ stage }) => stage),
    ['complete'],
  );
});

t.test('attack 39: a full disk refuses what must be on record, with the moment to try again', async (t) => {
  const { recorder } = await openRecorder(t, 'full');
  await t.rejects(async () => recorder.attempt(durable()), {
    code: 'audit_unavailable',
    status: 503,
    retryAfterSeconds: 5,
  });
});

t.test(
  'attack 39: while the disk is full, reading leaves a trace no more than writing does, so it waits as well',
  async (t) => {
    const { recorder } = await openRecorder(t, 'full');
    await t.rejects(async () => recorder.attempt(durable()));
    await t.rejects(async () => recorder.attempt(reading()), { code: 'audit_unavailable' });
  },
);

t.test(
  'attack 39: reads go on unrecorded where the configuration says so, and are counted; changes do not',
  async (t) => {
    const { recorder, count } = await openRecorder(t, 'full', 'allow');
    await t.rejects(async () => recorder.attempt(durable()), { code: 'audit_unavailable' });
    await recorder.attempt(reading());
    await recorder.attempt(reading());
    await t.rejects(async () => recorder.attempt(durable()), { code: 'audit_unavailable' });
    t.equal(await count('audit_unrecorded_total'), 2);
  },
);

t.test('what was lost to a full buffer is told by a record once there is room', async (t) => {
  const { recorder, sink, mend, records } = await openRecorder(t, 'full');
  t.equal(sink.append(`"${'x'.repeat(auditBufferBytesMax - 3)}"\n`), true);
  recorder.complete(reading());
  recorder.complete(reading());
  recorder.writeDown();
  await sink.flush();
  mend();
  await sink.flush();
  recorder.complete(reading());
  recorder.writeDown();
  await sink.flush();
  const chained = records().filter(({ seq }) => seq !== undefined);
  t.match(chained, [
    { stage: 'event', event: 'records_lost', detail: '2', seq: 1 },
    { stage: 'complete', seq: 2 },
  ]);
});

t.test(
  'what is no request has records of its own, and a new configuration its digest on all that follow',
  async (t) => {
    const { recorder, sink, records } = await openRecorder(t);
    recorder.event('start', '1.0.0');
    recorder.event('redis_lost');
    recorder.event('redis_found');
    recorder.event('reload_refused', 'gateway.yaml:3:1');
    recorder.reloaded('other');
    recorder.event('stop');
    await sink.flush();
    t.match(records(), [
      { stage: 'event', event: 'start', detail: '1.0.0', config_digest: 'digest' },
      { event: 'redis_lost', detail: null },
      { event: 'redis_found' },
      { event: 'reload_refused', detail: 'gateway.yaml:3:1', config_digest: 'digest' },
      { event: 'reload_accepted', detail: 'digest', config_digest: 'other' },
      { event: 'stop', config_digest: 'other' },
    ]);
  },
);

t.test('an upgraded connection has a record when it opens and one when it ends, with one id', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  const exchange = reading();
  exchange.outcome.status = 101;
  await recorder.opened(exchange);
  recorder.complete(exchange);
  recorder.writeDown();
  await sink.flush();
  t.match(records(), [
    { stage: 'open', status_code: 101 },
    { stage: 'complete', id: exchange.id },
  ]);
});

t.test('an incident has a record beside the one of its request', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  const exchange = reading();
  exchange.outcome.incident = 'refresh_reuse';
  exchange.identifiedSubject = 'user:1';
  recorder.complete(exchange);
  recorder.writeDown();
  await sink.flush();
  t.match(records(), [
    { stage: 'complete' },
    { stage: 'event', event: 'refresh_reuse', request_id: exchange.requestId, principal: 'user:1' },
  ]);
});

t.test('attack 39: once there is room, everything said in the meantime is written, in order', async (t) => {
  const { recorder, mend, records, count } = await openRecorder(t, 'full');
  await t.rejects(async () => recorder.attempt(durable()));
  recorder.complete(durable());
  recorder.writeDown();
  mend();
  await recorder.attempt(durable());
  t.strictSame(
    records().map(({ seq }) => seq),
    [1, 2, 3],
  );
  t.equal(await count('audit_records_total'), 3);
  t.equal(await count('audit_dropped_total'), 0);
});

t.test('what a full buffer loses is counted, durable or not', async (t) => {
  const { recorder, sink, count } = await openRecorder(t, 'full');
  t.equal(sink.append('x'.repeat(auditBufferBytesMax)), true);
  recorder.complete(reading());
  recorder.writeDown();
  await t.rejects(async () => recorder.attempt(durable()), { code: 'audit_unavailable' });
  t.equal(await count('audit_dropped_total'), 2);
  t.equal(await count('audit_records_total'), 0);
});

t.test('a response that never finished is a client that left', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  const exchange = reading();
  exchange.outcome.status = 200;
  recorder.complete(exchange);
  recorder.writeDown();
  await sink.flush();
  t.match(records(), [{ code: 'client_closed', status_code: 499, decision: 'error' }]);
});

t.test('what was over before a reload carries the digest it was under', async (t) => {
  const { recorder, sink, records } = await openRecorder(t);
  recorder.complete(reading());
  recorder.reloaded('another');
  await sink.flush();
  t.match(records(), [
    { stage: 'complete', config_digest: 'digest' },
    { event: 'reload_accepted', config_digest: 'another', detail: 'digest' },
  ]);
});

t.test(
  'a record that cannot be made is told of in one with an id of its own, and takes no other along',
  async (t) => {
    const { recorder, audit, sink, records } = await openRecorder(t);
    const append = audit.append.bind(audit);
    audit.append = (record) => {
      audit.append = append;
      append(record);
      throw new Error('after it was written');
    };
    recorder.complete(reading());
    recorder.complete(reading());
    recorder.writeDown();
    await sink.flush();
    const [first, fault, second] = records();
    const codes = [first, fault, second].map((record) => record?.code);
    t.strictSame(codes, ['client_closed', 'internal_error', 'client_closed']);
    t.not(fault?.id, first?.id);
    t.equal(fault?.request_id, first?.request_id);
  },
);

t.test('where nothing can be told any more, what is left is there for who ends the process', async (t) => {
  const { recorder, audit, sink, records } = await openRecorder(t);
  const append = audit.append.bind(audit);
  audit.append = () => {
    throw new Error('nothing can be told');
  };
  for (let count = 0; count < 3; count += 1) recorder.complete(reading());
  t.throws(() => recorder.writeDown(), { message: 'nothing can be told' });
  audit.append = append;
  recorder.writeDown();
  await sink.flush();
  t.equal(records().length, 2);
});
