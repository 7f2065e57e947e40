/** Attacks 33 and 34: one caller has one bucket, however it dresses up. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';
import { startTestRegistry } from '../support/registry.ts';

const hourly = readFileSync('gateway.yaml', 'utf8')
  .replace(/read: { rate: .*}/, 'read: { rate: 60/hour }')
  .replace('public: { rate: 100/minute,', 'public: { rate: 100/hour,');

async function start(t: Test, yaml: string, clock?: Clock): Promise<TestGateway> {
  const directory = t.testdir();
  const registry = await startTestRegistry(directory, clock);
  const gateway = await startTestGateway({
    directory,
    registry,
    yaml,
    ...(clock && { clock }),
  });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  return gateway;
}

/** The same question in another dress each time; its caller is the same. */
function dressed(key: string, index: number): string {
  const spellings = [
    `X-API-Key: ${key}`,
    `x-api-key: ${key}`,
    `Authorization: Bearer ${key}`,
    `authorization:  bEaReR   ${key}`,
  ];
  const lines = [
    `${index % 2 === 0 ? 'GET' : 'HEAD'} /tools?page=1&tag=${index}${'&'.repeat(index % 3)} HTTP/1.1`,
    `Host: ${index}.example`,
    spellings[index % spellings.length] ?? '',
    `X-Forwarded-For: 10.0.0.${index}`,
    `X-Real-IP: 10.0.0.${index}`,
    `Forwarded: for=10.0.0.${index}`,
    `User-Agent: ${index}`,
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function statuses(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

t.test('attack 33: 61 at once against 60 an hour, dressed up and pipelined: exactly 60 pass', async (t) => {
  const gateway = await start(t, hourly);
  const { key } = gateway.first.key;
  const asked = Array.from({ length: 61 }, (_, index) => dressed(key, index));
  const answers = await Promise.all(
    // Eight behind one another on each connection, the last with what is left.
    Array.from({ length: 8 }, (_, at) =>
      sendRaw(gateway.trafficUrl, asked.slice(at * 8, at * 8 + 8).join('')),
    ),
  );
  const all = answers.flatMap(({ text }) => statuses(text));
  t.equal(all.length, 61);
  t.equal(all.filter((status) => status === 200).length, 60);
  t.equal(all.filter((status) => status === 429).length, 1);
});

t.test('control 33: another caller has a bucket of its own', async (t) => {
  const gateway = await start(t, hourly);
  const { key } = gateway.first.key;
  await Promise.all(
    Array.from({ length: 10 }, (_, at) =>
      sendRaw(
        gateway.trafficUrl,
        Array.from({ length: 8 }, (_, index) => dressed(key, at * 8 + index)).join(''),
      ),
    ),
  );
  t.equal((await fetch(`${gateway.trafficUrl}/tools`, { headers: { 'x-api-key': key } })).status, 429);
  t.equal((await gateway.admin('GET', '/tools')).status, 200);
});

const behindProxy = hourly.replace('listen: {', 'listen: { trusted_proxies: [127.0.0.1],');

t.test('attack 34: 300 addresses of one IPv6 /64 have one bucket', async (t) => {
  const gateway = await start(t, behindProxy, new FakeClock());
  const seen: number[] = [];
  for (let at = 0; at < 300; at += 1) {
    const headers = {
      'X-Forwarded-For': `2001:db8:1:2:${((at * 7919) % 65_536).toString(16)}::${at.toString(16)}`,
    };
    seen.push((await fetch(`${gateway.trafficUrl}/health`, { headers })).status);
  }
  t.equal(seen.filter((status) => status === 200).length, 100);
  t.equal(seen.filter((status) => status === 429).length, 200);
  const other = { 'X-Forwarded-For': '2001:db8:1:3::1' };
  t.equal(
    (await fetch(`${gateway.trafficUrl}/health`, { headers: other })).status,
    200,
    'control 34: the next /64',
  );
});

t.test('attack 40: the clock an hour back or ahead leaves the limiter alone', async (t) => {
  const monotonic = new FakeClock();
  let offsetMs = 0;
  const gateway = await start(t, behindProxy, {
    wallMs: () => (monotonic.wallMs() + offsetMs) as ReturnType<Clock['wallMs']>,
    monotonicMs: () => monotonic.monotonicMs(),
  });
  const ask = async () => (await fetch(`${gateway.trafficUrl}/health`)).status;
  for (let count = 0; count < 100; count += 1) await ask();
  t.equal(await ask(), 429);
  offsetMs = 3_600_000;
  t.equal(await ask(), 429, 'ahead: nothing has flowed back');
  offsetMs = -3_600_000;
  t.equal(await ask(), 429, 'back');
  offsetMs = 0;
  monotonic.nowMs += 36_000;
  t.equal(await ask(), 200, 'control 40: real time brings one back');
  t.equal(await ask(), 429);
});
