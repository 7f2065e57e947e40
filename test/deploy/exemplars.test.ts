/** From a real Prometheus that stores exemplars, back to the trace. */
import t from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { startPrometheus } from './prometheus-server.ts';

t.test('a sampled request is found from its histogram', async (t) => {
  const receiver = await startOtlpReceiver();
  t.teardown(() => receiver.close());
  const gateway = await startTestGateway({
    directory: t.testdir(),
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, TRACE_SAMPLE_RATIO: '1' },
  });
  t.teardown(() => gateway.close());
  await (await fetch(`${gateway.trafficUrl}/health`)).text();
  const [span] = await receiver.received(1);
  const prometheus = await startPrometheus(t, [new URL(gateway.operationsUrl).host]);
  await prometheus.scraped();
  const [found] = await prometheus.exemplars('portcullis_http_request_duration_seconds_bucket');
  t.equal(found?.seriesLabels.route, '/health');
  t.strictSame(found?.exemplars[0]?.labels, { trace_id: span?.traceId, span_id: span?.spanId });
  const [counted] = await prometheus.query('portcullis_http_requests_total{route="/health"}');
  t.equal(counted?.value[1], '1', 'the other metrics are read too, by their own names');
  const types = await prometheus.query('{__name__=~"portcullis_.*|process_.*|nodejs_.*"}');
  t.ok(types.length > 50, `${types.length} series`);
});
