import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { generated } from '../../deploy/grafana/generate.ts';
import { startCrew } from '../support/crew.ts';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';
import { startTestRegistry } from '../support/registry.ts';
import { startTlsGateway } from '../support/tls-gateway.ts';
import { startPrometheus } from './prometheus-server.ts';
import { dashboardFiles, readDashboard, readQuery, shippedQueries } from './queries.ts';

t.test('dashboards and manifests are what the script makes', async (t) => {
  for (const [path, content] of generated()) {
    t.equal(readFileSync(`deploy/${path}`, 'utf8'), content, `${path}: run node deploy/grafana/generate.ts`);
  }
});

t.test('every query can be parsed', async (t) => {
  for (const { from, expr } of shippedQueries()) t.ok(readQuery(expr).whole, `${from}: ${expr}`);
});

t.test('every panel says what to look for, and stands beside the others', async (t) => {
  for (const file of dashboardFiles) {
    const { panels } = readDashboard(file);
    const taken = new Set<string>();
    for (const { title, type, description, gridPos } of panels) {
      if (type !== 'row') t.match(description ?? '', /\.$/, title);
      const { x, y, w } = gridPos;
      t.ok(x + w <= 24, `${title} is inside of the page`);
      t.notOk(taken.has(`${x},${y}`), `${title} covers no other`);
      taken.add(`${x},${y}`);
    }
  }
});

t.test('a real Prometheus has data for every query after a while of every kind of traffic', async (t) => {
  const registry = await startTestRegistry(t.testdir());
  t.teardown(() => registry.close());
  const whole = await startTestGateway({ directory: t.testdir({ whole: {} }), registry });
  t.teardown(() => whole.close());
  const secure = await startTlsGateway({ directory: t.testdir({ secure: {} }) });
  t.teardown(() => secure.close());
  const several = await startCrew({
    testdir: () => t.testdir({ several: {} }),
    teardown: (callback) => t.teardown(callback),
  });
  const targets = [whole, secure, { operationsUrl: several.operations }].map(
    ({ operationsUrl }) => new URL(operationsUrl).host,
  );
  const prometheus = await startPrometheus(t, targets);
  await prometheus.scraped();
  await everyKind(whole);
  await delay(3_000);
  await registry.close();
  await everyKind(whole);
  await delay(3_000);
  for (const { from, expr } of shippedQueries()) {
    // Whether there is anything to compare, not whether it is above the threshold.
    const compared = expr.trim().replace(/ (?:[<>]|==) [\d.* ]+$/, '');
    const asked = from === 'PortcullisAbsent' ? 'portcullis_build_info' : compared;
    const found = await prometheus.query(asked);
    t.not(found.length, 0, `${from}: ${asked}`);
  }
});

/** Answers, refusals of each kind, administration, and more than the limit allows. */
async function everyKind({ trafficUrl, first, admin }: TestGateway): Promise<void> {
  const { key } = first.key;
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(trafficUrl + path, init).then((answer) => answer.text());
  for (let count = 0; count < 65; count += 1) await ask('/tools', { headers: { 'x-api-key': key } });
  await ask('/tools', { headers: { 'x-api-key': `${key}x` } });
  await ask('/tools', { method: 'DELETE', headers: { 'x-api-key': key } });
  await ask('/tools/x', { method: 'DELETE', headers: { 'x-api-key': key } });
  await ask('/nowhere');
  await sendRaw(trafficUrl, 'GET / HTTP/9.9\r\n\r\n');
  await logIn(trafficUrl, first.admin.username, first.password);
  await ask('/auth/login', {
    method: 'POST',
    body: new URLSearchParams({ username: 'admin', password: 'wrong' }),
  });
  await admin('GET', '/admin/users');
}
