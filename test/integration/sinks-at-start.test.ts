import { readFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';

/** Nobody listens there. */
const nowhere = '127.0.0.1:9';

const shipped = readFileSync('gateway.yaml', 'utf8');
const withSinks = (...sinks: string[]) =>
  shipped.replace(/ - \{ type: file.*/, sinks.map((sink) => ` - { ${sink} }`).join('\n   '));

async function sinkStates({ operationsUrl }: TestGateway): Promise<string[]> {
  const text = await (await fetch(`${operationsUrl}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith('portcullis_audit_sink_up'));
}

t.test('a sink that was down before the gateway was up is told as down', async (t) => {
  const http = `type: http, url: "http://${nowhere}/", batch: { max_time: 100ms }`;
  const gateway = await startTestGateway({
    directory: t.testdir(),
    yaml: withSinks(`type: file, path: "\${AUDIT_LOG_FILE}"`, http),
    // A Redis that is away holds the start up for a second, in which the sink fails.
    env: { REDIS_URL: `redis://${nowhere}` },
  });
  t.teardown(() => gateway.close());
  await delay(500);
  t.strictSame(await sinkStates(gateway), [
    'portcullis_audit_sink_up{sink="file"} 1',
    'portcullis_audit_sink_up{sink="http"} 0',
  ]);
});

t.test('where the log goes to standard output alone, no file is told of', async (t) => {
  const stdout = new PassThrough();
  stdout.resume();
  const gateway = await startTestGateway({ directory: t.testdir(), yaml: withSinks('type: stdout'), stdout });
  t.teardown(() => gateway.close());
  t.strictSame(await sinkStates(gateway), ['portcullis_audit_sink_up{sink="stdout"} 1']);
});
