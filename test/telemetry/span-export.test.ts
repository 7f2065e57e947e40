import { trace } from '@opentelemetry/api';
import t, { type Test } from 'tap';
import { spanFlushMs, spansWaitingMax } from '../../src/limits.ts';
import { SpanExport } from '../../src/telemetry/span-export.ts';
import type { SpanResult } from '../../src/telemetry/span-results.ts';
import { exchangeOf } from '../support/exchange.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';

/** The spans that are counted by what became of them, and what was said of the receiver. */
function exportTo({ url }: OtlpReceiver, serviceName = 'edge') {
  const counted: Record<SpanResult, number> = { exported: 0, queue_full: 0, export_failed: 0, shutdown: 0 };
  const changes: Array<string | undefined> = [];
  const spans = new SpanExport({
    url: `${url}/v1/traces`,
    headers: {},
    serviceName,
    version: '1.2.3',
    replica: 'test',
    onEnd: (result, count) => {
      counted[result] += count;
    },
    onChange: (error) => changes.push(error?.message),
  });
  return { spans, counted, changes };
}

/** One span each, and each another. */
function add(spans: SpanExport, count: number): void {
  for (let number = 1; number <= count; number += 1) {
    const server = number.toString(16).padStart(16, '0');
    const ids = { parent: undefined, server, client: 'f'.repeat(16) };
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    spans.add(exchangeOf({}, { trace: { traceId, headers: [], spans: ids } }), 1.5);
  }
}

async function receiving(t: Test, ...respond: Parameters<typeof startOtlpReceiver>) {
  const receiver = await startOtlpReceiver(...respond);
  t.teardown(() => receiver.close());
  return receiver;
}

t.test('a full queue loses what comes, and the end what waits; both are counted', async (t) => {
  const { spans, counted } = exportTo(await receiving(t, () => undefined));
  add(spans, spansWaitingMax + 100);
  t.equal(counted.queue_full, 100);
  const beganMs = performance.now();
  await spans.close();
  const takenMs = performance.now() - beganMs;
  t.ok(takenMs < spanFlushMs + 5_000, `${takenMs} ms`);
  t.strictSame(counted, { exported: 0, queue_full: 100, export_failed: 0, shutdown: spansWaitingMax });
});

t.test('a full queue goes out whole at the end', async (t) => {
  const receiver = await receiving(t);
  const { spans, counted, changes } = exportTo(receiver);
  add(spans, spansWaitingMax);
  await spans.close();
  t.equal(counted.exported, spansWaitingMax);
  t.equal(new Set(receiver.spans.map(({ spanId }) => spanId)).size, spansWaitingMax);
  t.strictSame(changes, []);
});

t.test('that a receiver fails is said once, and so is that it is back', async (t) => {
  let status = 400;
  const receiver = await receiving(t, (response) => response.writeHead(status).end('token=hunter2'));
  const { spans, changes } = exportTo(receiver);
  for (const next of [400, 400, 200, 200]) {
    status = next;
    const before = receiver.bodies.length;
    add(spans, 1);
    for (let tries = 0; tries < 100 && receiver.bodies.length === before; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await spans.close();
  t.equal(changes.length, 2);
  t.notMatch(changes[0], 'hunter2', 'not what it answered');
  t.equal(changes[1], undefined);
});

t.test('two in one process do not mix, and leave nothing behind that is global', async (t) => {
  const [one, other] = [await receiving(t), await receiving(t)];
  const first = exportTo(one, 'first');
  const second = exportTo(other, 'second');
  add(first.spans, 1);
  add(second.spans, 2);
  await Promise.all([first.spans.close(), second.spans.close()]);
  t.strictSame(
    one.spans.map(({ resource }) => resource['service.name']),
    ['first'],
  );
  t.strictSame(
    other.spans.map(({ resource }) => resource['service.name']),
    ['second', 'second'],
  );
  t.equal(trace.getTracer('any').startSpan('any').isRecording(), false);
});

t.test('times are to the microsecond', async (t) => {
  const receiver = await receiving(t);
  const { spans } = exportTo(receiver);
  add(spans, 1);
  await spans.close();
  const [span] = receiver.spans;
  t.equal(span?.startNs, 1_695_678_901_234_000_000n);
  const takenNs = Number((span?.endNs ?? 0n) - (span?.startNs ?? 0n));
  t.ok(Math.abs(takenNs - 1_500_000) < 1_000, `${takenNs} ns`);
});
