/** A configuration is put in force while requests are under way: none fails, and what has to go on goes on. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { ReloadError } from '../../src/reload.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { keyEndpoint, keySet, signed, testKey } from '../support/issuer.ts';

/** Answers with its name; what asks for /slow is answered when the test says so. */
async function startService(name: string) {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  let connections = 0;
  const server = createServer((request, response) => {
    const answer = () => response.end(name);
    if (request.url?.startsWith('/tools/slow')) void released.then(answer);
    else answer();
  });
  server.on('connection', (socket) => {
    connections += 1;
    socket.on('close', () => {
      connections -= 1;
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    release();
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, release, connections: () => connections };
}

const [a, b] = [await startService('a'), await startService('b')];

async function start(t: Test, env: Record<string, string> = {}): Promise<TestGateway> {
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: a.url,
    env: { REQUESTS_PER_MINUTE: '1000000', ...env },
  });
  t.teardown(() => gateway.close());
  return gateway;
}

const toB = (gateway: TestGateway) => gateway.yaml.replace(/"[^"]*REGISTRY_URL[^"]*"/, b.url);
const headersOf = (gateway: TestGateway) => ({ 'x-api-key': gateway.first.key.key });
const get = (gateway: TestGateway, path = '/tools') =>
  fetch(gateway.trafficUrl + path, { headers: headersOf(gateway) });
const metrics = async (gateway: TestGateway) => (await fetch(`${gateway.operationsUrl}/metrics`)).text();

t.test('another upstream is taken under load, and no request fails', async (t) => {
  const gateway = await start(t);
  const seen = { a: 0, b: 0 };
  let stop = false;
  const load = Array.from({ length: 8 }, async () => {
    while (!stop) {
      const answer = await get(gateway);
      if (answer.status !== 200) throw new Error(`${answer.status}`);
      seen[(await answer.text()) as 'a' | 'b'] += 1;
    }
  });
  for (let round = 0; round < 5; round += 1) {
    await sleep(100);
    await gateway.reload(gateway.load(round % 2 === 0 ? toB(gateway) : gateway.yaml));
    t.equal(await (await get(gateway)).text(), round % 2 === 0 ? 'b' : 'a', 'from then on');
  }
  stop = true;
  await Promise.all(load);
  t.ok(seen.a > 10 && seen.b > 10, JSON.stringify(seen));
});

t.test('a request ends under the configuration it began with, whose connections go after it', async (t) => {
  const service = await startService('slow');
  const gateway = await start(t, { REGISTRY_URL: service.url });
  const slow = get(gateway, '/tools/slow');
  for (let tries = 0; service.connections() === 0 && tries < 200; tries += 1) await sleep(10);
  await gateway.reload(gateway.load(toB(gateway)));
  t.equal(await (await get(gateway)).text(), 'b');
  await sleep(200);
  t.equal(service.connections(), 1, 'it goes on');
  service.release();
  t.equal(await (await slow).text(), 'slow');
  for (let tries = 0; service.connections() > 0 && tries < 300; tries += 1) await sleep(10);
  t.equal(service.connections(), 0, 'nothing is left of the old pool');
});

t.test('what callers have used of their rate stays used', async (t) => {
  const gateway = await start(t, { REQUESTS_PER_MINUTE: '5' });
  for (let count = 0; count < 5; count += 1) t.equal((await get(gateway)).status, 200);
  t.equal((await get(gateway)).status, 429);
  await gateway.reload(gateway.load(toB(gateway)));
  t.equal((await get(gateway)).status, 429);
  const smaller = toB(gateway).replace(/rate: "[^"]*REQUESTS[^"]*"/, 'rate: 2/minute');
  await gateway.reload(gateway.load(smaller));
  const answer = await get(gateway);
  t.equal(answer.status, 429, 'of a smaller bucket too');
  t.equal(answer.headers.get('x-ratelimit-remaining'), '0');
});

t.test('sessions, and addresses that have failed too often, stay as they are', async (t) => {
  const gateway = await start(t);
  t.equal((await gateway.admin('GET', '/auth/me')).status, 200);
  const token = ['{"alg":"HS256","typ":"at+jwt"}', '{"sub":"user:a"}', 'no signature of ours']
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.');
  const guess = () => fetch(`${gateway.trafficUrl}/tools`, { headers: { authorization: `Bearer ${token}` } });
  let status = 0;
  for (let tries = 0; status !== 429 && tries < 100; tries += 1) status = (await guess()).status;
  t.equal(status, 429);
  await gateway.reload(gateway.load(toB(gateway)));
  t.equal((await guess()).status, 429);
  t.equal((await gateway.admin('GET', '/auth/me')).status, 200, 'the same token');
});

t.test('what cannot change without a restart is refused by name, and all stays as it was', async (t) => {
  const gateway = await start(t);
  const changed = toB(gateway)
    .replace(/"[^"]*PORT:-8000[^"]*"/, '1234')
    .replace(/^database: .*$/m, 'database: sqlite:./other.db')
    .replace('access_lifetime: 30m', 'access_lifetime: 31m');
  const error = await gateway.reload(gateway.load(changed)).catch((thrown: unknown) => thrown);
  t.ok(error instanceof ReloadError);
  const reasons = error instanceof ReloadError ? error.reasons : [];
  t.strictSame(
    reasons.map((reason) => reason.split(' ')[0]),
    ['listen.port', 'database', 'auth.tokens.access_lifetime'],
  );
  t.match(reasons[0], /restart/);
  t.equal(await (await get(gateway)).text(), 'a', 'not in part');
});

t.test('a hundred times leaves nothing behind', async (t) => {
  const gateway = await start(t);
  const [yaml, other] = [gateway.load(gateway.yaml), gateway.load(toB(gateway))];
  const round = async () => {
    await gateway.reload(other);
    await (await get(gateway)).text();
    await gateway.reload(yaml);
    await (await get(gateway)).text();
  };
  for (let count = 0; count < 5; count += 1) await round();
  const before = process.getActiveResourcesInfo().length;
  const countSeries = async () => (await metrics(gateway)).match(/^portcullis_/gm)?.length ?? 0;
  const series = await countSeries();
  for (let count = 0; count < 50; count += 1) await round();
  await sleep(100);
  const after = process.getActiveResourcesInfo().length;
  t.ok(after <= before + 5, `${before} handles and timers before, ${after} after`);
  t.ok(a.connections() + b.connections() <= 4, 'connections to the services');
  t.equal(await countSeries(), series, 'series');
});

t.test('another digest stands in the records, and when it was taken in the metrics', async (t) => {
  const gateway = await start(t);
  await (await get(gateway)).text();
  const next = gateway.load(toB(gateway));
  await gateway.reload(next);
  await (await get(gateway)).text();
  const digests = (await gateway.audit())
    .filter(({ path }) => path === '/tools')
    .map((record) => record.config_digest);
  t.strictSame(digests, [gateway.load(gateway.yaml).digest, next.digest]);
  const upstreams = async () => (await metrics(gateway)).match(/^portcullis_upstream_up.*$/gm);
  t.match(await upstreams(), [/upstream="registry"/]);
  const renamed = gateway.yaml
    .replaceAll('upstream: registry', 'upstream: other')
    .replace(/^ {2}registry: /m, '  other: ');
  await gateway.reload(gateway.load(renamed));
  await (await get(gateway)).text();
  for (let tries = 0; ((await upstreams())?.length ?? 0) > 1 && tries < 100; tries += 1) await sleep(20);
  t.match(await upstreams(), [/upstream="other"/], 'an upstream that is no more has no series');
  gateway.refused(['something']);
  t.match(await metrics(gateway), /^portcullis_config_last_reload_successful 0$/m);
  await gateway.reload(gateway.load(gateway.yaml));
  t.match(await metrics(gateway), /^portcullis_config_last_reload_successful 1$/m);
});

t.test('what an issuer may say changes at once; its keys go on, though it is away', async (t) => {
  const key = testKey('ES256');
  const issuer = await keyEndpoint(keySet(key));
  const withGrant = (yaml: string, grant: string) =>
    yaml.replace(
      /^ {2}issuers: \[\]$/m,
      `  issuers: [{ name: corp, issuer: "https://corp.example", audience: tools, jwks_uri: "${issuer.url}/", permissions: { grant: [${grant}] } }]`,
    );
  const shipped = readFileSync('gateway.yaml', 'utf8');
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: a.url,
    yaml: withGrant(shipped, 'read'),
  });
  t.teardown(() => gateway.close());
  const exp = Math.floor(Date.now() / 1000) + 600;
  const claims = { iss: 'https://corp.example', aud: 'tools', sub: 'x', exp };
  const token = signed({ alg: 'ES256', kid: key.kid }, claims, key);
  const status = async () => {
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${gateway.trafficUrl}/tools`, { headers })).status;
  };
  t.equal(await status(), 200);
  await issuer.close();
  await gateway.reload(gateway.load(withGrant(shipped, 'create')));
  t.equal(await status(), 403, 'not what it was before, from memory');
  await gateway.reload(gateway.load(withGrant(shipped, 'read')));
  t.equal(await status(), 200, 'by the keys from before');
  await gateway.reload(gateway.load(shipped));
  t.equal(await status(), 401, 'it is no issuer any more');
});
