import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { METHODS } from 'node:http';
import t from 'tap';
import { Client } from 'undici';
import { startTestGateway } from '../support/gateway.ts';

const requests = 10_000;

t.test('10,000 random paths, methods and callers make no series of a metric', async (t) => {
  // Limits high enough that the same kinds of answers come from the first to the last.
  const yaml = readFileSync('gateway.yaml', 'utf8').replace(
    /rate: (?:\d+|"[^"]*)\/minute"?/g,
    'rate: 1000000/minute',
  );
  const gateway = await startTestGateway({ directory: t.testdir(), yaml });
  t.teardown(() => gateway.close());
  const client = new Client(gateway.trafficUrl, { pipelining: 1 });
  t.teardown(() => client.destroy());
  // CONNECT is answered apart; undici cannot send the other one.
  const methods = METHODS.filter((method) => !['CONNECT', 'M-SEARCH'].includes(method));
  const random = () => randomBytes(6).toString('hex');
  const ask = async (method: string, path: string, key: string) => {
    const { body } = await client.request({ method: method as 'GET', path, headers: { 'x-api-key': key } });
    await body.dump();
  };
  const { key } = gateway.first.key;
  for (const method of methods) {
    await ask(method, `/${random()}`, random());
    await ask(method, `/${random()}`, key);
  }
  await ask('GET', `/tools/${random()}`, random());
  const before = await seriesOf(gateway.operationsUrl);
  for (let count = 0; count < requests; count += 1) {
    const method = methods[count % methods.length] ?? 'GET';
    if (count % 3 === 0) await ask('GET', `/tools/${random()}?q=${random()}`, random());
    else await ask(method, `/${random()}`, count % 3 === 1 ? random() : key);
  }
  const after = await seriesOf(gateway.operationsUrl);
  t.strictSame(after, before);
  t.ok(before.length > 100, 'there are series at all');
});

/** Names and labels, without what counts itself. */
async function seriesOf(operationsUrl: string): Promise<string[]> {
  const text = await (await fetch(`${operationsUrl}/metrics`)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith('portcullis_'))
    .map((line) => line.replace(/ [^ ]+$/, ''))
    .sort();
}
