import { execFileSync } from 'node:child_process';
import t from 'tap';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';

const openMetricsType = 'application/openmetrics-text';
/** What Prometheus 2.42 sends. */
const prometheus =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const trace = {
  traceId: '0af7651916cd43dd8448eb211c80319c',
  headers: [],
  spans: { parent: undefined, server: 'b7ad6b7169203331', client: '1111111111111111' },
};

/** Metrics after a request that was sampled. */
function traced(): Metrics {
  const metrics = new Metrics({ version: '1.2.3', nodeVersion: 'v26' });
  metrics.prepareTracing();
  metrics.prepare({ classes: ['read'], sinks: ['file'] });
  metrics.requestBegins();
  metrics.requestEnds(exchangeOf({}, { route: routeOf(), trace }), 3);
  return metrics;
}

for (const [accept, isOpenMetrics] of [
  [prometheus, true],
  [openMetricsType, true],
  ['APPLICATION/OpenMetrics-Text; Version=1.0.0; charset=utf-8', true],
  [undefined, false],
  ['*/*', false],
  ['application/*', false],
  ['text/plain', false],
  [`${openMetricsType};version=0.0.1`, false],
  [`${openMetricsType};version=2.0.0`, false],
  [`${openMetricsType};q=0`, false],
  [`${openMetricsType};q=0.5, text/plain`, false],
  [`${openMetricsType};q=wrong`, false],
  [`${','.repeat(9_000)}${openMetricsType}`, false],
] as const)
  t.test(`Accept: ${String(accept).slice(0, 60)}`, async (t) => {
    const { text, contentType } = await traced().exposition(accept);
    t.equal(contentType.startsWith(openMetricsType), isOpenMetrics);
    t.equal(text.endsWith('# EOF\n'), isOpenMetrics);
    t.equal(text.includes('trace_id'), isOpenMetrics);
  });

t.test('the exemplar stands at the bucket of the sampled request', async (t) => {
  const { text } = await traced().exposition(prometheus);
  const labels = `trace_id="${trace.traceId}",span_id="${trace.spans.server}"`;
  const [line, ...others] = text.split('\n').filter((candidate) => candidate.includes('trace_id'));
  t.match(
    line,
    new RegExp(
      `^portcullis_http_request_duration_seconds_bucket\\{le="0\\.005",route="/tools"\\} 1 # \\{${labels}\\} 0\\.003 \\d+\\.?\\d*$`,
    ),
  );
  t.strictSame(others, []);
});

t.test('a request that is not sampled leaves no exemplar', async (t) => {
  const metrics = new Metrics({ version: '1.2.3', nodeVersion: 'v26' });
  metrics.prepareTracing();
  metrics.requestBegins();
  metrics.requestEnds(exchangeOf({}, { route: routeOf() }), 3);
  t.notMatch((await metrics.exposition(prometheus)).text, 'trace_id');
});

t.test('where nothing is traced, every scraper gets the plain format', async (t) => {
  const metrics = new Metrics({ version: '1.2.3', nodeVersion: 'v26' });
  const { text, contentType } = await metrics.exposition(prometheus);
  t.match(contentType, /^text\/plain; version=0\.0\.4/);
  t.notMatch(text, 'trace_spans_total{');
});

t.test('rendering one format does not spoil the other', async (t) => {
  const metrics = traced();
  const names = (text: string) => text.match(/^portcullis_[^{ ]*/gm)?.sort();
  const before = (await metrics.exposition(undefined)).text;
  const open = (await metrics.exposition(prometheus)).text;
  const after = (await metrics.exposition(undefined)).text;
  t.strictSame(names(after), names(before));
  t.strictSame(names(open), names(before), 'samples are called alike in both');
  t.match(before, '# TYPE portcullis_http_requests_total counter');
  t.match(open, /^# TYPE portcullis_http_requests counter$/m);
  t.notMatch(open, '_total_total');
  t.notMatch(open, /\n\n/, 'no empty line');
  const said = execFileSync('promtool', ['check', 'metrics'], { input: after, encoding: 'utf8' });
  t.equal(said, '');
});
