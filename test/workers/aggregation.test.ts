/** Many processes' metrics as one exposition: sums that never fall, states that tell the worst. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import t from 'tap';
import { aggregate, expose, retire } from '../../src/workers/aggregation.ts';

interface Values {
  readonly requests: number;
  readonly up?: number;
  readonly staleness?: number;
  readonly seconds?: readonly number[];
  readonly traceId?: string;
}

function registryOf({ requests, up = 1, staleness = 0, seconds = [], traceId = 'a' }: Values) {
  const registry = new Registry();
  const registers = [registry];
  const labelNames = ['route', 'status'];
  const counter = new Counter({ name: 'portcullis_http_requests_total', help: 'h', labelNames, registers });
  counter.inc({ route: '/x', status: '200' }, requests);
  new Gauge({ name: 'portcullis_upstream_up', help: 'h', registers }).set(up);
  new Gauge({ name: 'portcullis_revocation_staleness_seconds', help: 'h', registers }).set(staleness);
  new Gauge({ name: 'portcullis_config_last_reload_successful', help: 'h', registers }).set(0);
  new Gauge({ name: 'process_resident_memory_bytes', help: 'h', registers }).set(requests * 1_000);
  const histogram = new Histogram({
    name: 'portcullis_http_request_duration_seconds',
    help: 'h',
    buckets: [1, 2],
    labelNames: ['route'],
    registers: [],
    enableExemplars: true,
  });
  registry.registerMetric(histogram as never);
  for (const value of seconds)
    histogram.observe({ labels: { route: '/x' }, value, exemplarLabels: { trace_id: traceId } as object });
  return registry;
}

const told = async (process: string, values: Values) => ({
  process,
  metrics: await registryOf(values).getMetricsAsJSON(),
});

const lines = async (metrics: Parameters<typeof expose>[0]) =>
  (await expose(metrics, undefined, false)).text.split('\n');

t.test('counts are summed, states tell the worst, processes stay apart', async (t) => {
  const all = [
    await told('1', { requests: 3, up: 1, staleness: 2, seconds: [0.5, 1.5] }),
    await told('2', { requests: 4, up: 0, staleness: 1, seconds: [0.5] }),
  ];
  const text = await lines(aggregate(all, [], []));
  for (const line of [
    'portcullis_http_requests_total{route="/x",status="200"} 7',
    'portcullis_upstream_up 0',
    'portcullis_revocation_staleness_seconds 2',
    'process_resident_memory_bytes{worker="1"} 3000',
    'process_resident_memory_bytes{worker="2"} 4000',
    'portcullis_http_request_duration_seconds_bucket{le="1",route="/x"} 2',
    'portcullis_http_request_duration_seconds_bucket{le="+Inf",route="/x"} 3',
    'portcullis_http_request_duration_seconds_sum{route="/x"} 2.5',
  ])
    t.ok(text.includes(line), line);
  t.notOk(
    text.some((line) => line.startsWith('portcullis_config_last_reload_successful')),
    'the primary knows better',
  );
});

t.test('what a worker had counted stays in the sum after its end, and its states do not', async (t) => {
  const [one, two] = [await told('1', { requests: 3, up: 0 }), await told('2', { requests: 4 })];
  let gone = retire([], one.metrics);
  t.ok(
    (await lines(aggregate([two], gone, []))).includes(
      'portcullis_http_requests_total{route="/x",status="200"} 7',
    ),
  );
  t.ok((await lines(aggregate([two], gone, []))).includes('portcullis_upstream_up 1'));
  gone = retire(gone, two.metrics);
  const text = await lines(aggregate([], gone, []));
  t.ok(text.includes('portcullis_http_requests_total{route="/x",status="200"} 7'));
  t.notOk(text.some((line) => line.startsWith('process_')));
});

t.test('OpenMetrics has exemplars of workers, for who asks for it', async (t) => {
  const all = [
    await told('1', { requests: 1, seconds: [0.5], traceId: 'first' }),
    await told('2', { requests: 1, seconds: [1.5], traceId: 'second' }),
  ];
  const { text, contentType } = await expose(aggregate(all, [], []), 'application/openmetrics-text', true);
  t.match(contentType, /openmetrics/);
  t.match(text, /_bucket\{le="1",route="\/x"\} 1 # \{trace_id="first"\}/);
  t.match(text, /_bucket\{le="2",route="\/x"\} 2 # \{trace_id="second"\}/);
  t.match(text, /portcullis_http_requests_total\{route="\/x",status="200"\} 2/);
});
