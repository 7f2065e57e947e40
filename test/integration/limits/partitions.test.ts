/** Who shares a bucket, over raw sockets: nothing that a client can vary gives it another one. */
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { FakeClock } from '../../support/fake-clock.ts';
import { logIn, startTestGateway, type TestGateway } from '../../support/gateway.ts';
import { startTestRegistry } from '../../support/registry.ts';

interface Options {
  readonly classes: string;
  readonly routes: string;
  readonly listen?: string;
}

/** The clock stands still, so that what passes is exactly what the buckets hold. */
async function start(t: Test, { classes, routes, listen = '' }: Options): Promise<TestGateway> {
  const directory = t.testdir();
  const clock = new FakeClock();
  const registry = await startTestRegistry(directory, clock);
  const yaml = `version: 1
listen: { port: 0${listen} }
operations: { port: 0 }
database: "\${DATABASE_URL}"
rate_limits:
  classes:
    public: { rate: 60/hour, partition: address }
    read: { rate: 60/hour }
    write: { rate: 100/hour }
    admin: { rate: 100/hour }
${classes}
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { registry: { url: "\${REGISTRY_URL}" } }
routes:
${routes}
`;
  const gateway = await startTestGateway({ directory, yaml, registry, clock });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  return gateway;
}

/** Requests that one connection may have under way, and no more. */
const pipelined = 8;

/** Sends these requests, several one behind the other on each connection; every status that came back. */
async function statuses(url: string, requests: readonly string[]): Promise<number[]> {
  const connections = Math.ceil(requests.length / pipelined);
  const shares = Array.from({ length: connections }, (_, index) =>
    requests.filter((_request, at) => at % connections === index),
  );
  const answers = await Promise.all(shares.map((share) => answersTo(url, share)));
  return answers.flatMap((text) =>
    [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status)),
  );
}

/** All that comes back until the gateway closes the connection, which the last request asks for. */
async function answersTo(url: string, requests: readonly string[]): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.setTimeout(60_000, () => socket.destroy(new Error('nothing came for 60 s')));
  socket.write(requests.join('').replace(/\r\n\r\n$/, '\r\nConnection: close\r\n\r\n'));
  let text = '';
  for await (const data of socket) text += data;
  return text;
}

const head = (target: string, headers: readonly string[] = []) =>
  [`GET ${target} HTTP/1.1`, 'Host: gateway.example', ...headers, '', ''].join('\r\n');

const counted = (all: readonly number[], status: number) => all.filter((one) => one === status).length;

/** One of several, by number. */
const pick = <T>(choices: readonly T[], index: number): T => choices[index % choices.length] as T;

t.test('attack 33: a public route is counted by address, whatever the client varies', async (t) => {
  const gateway = await start(t, {
    classes: '',
    routes:
      '  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET], permission: none, class: public }',
  });
  const { key } = gateway.first.key;
  const credentials = [
    [],
    [`Authorization: Bearer ${key}`],
    [`aUTHORIZATION: bEARER ${key}`],
    [`x-api-key: ${key}`],
    ['X-API-KEY: nobody'],
    ['Authorization: Basic dXNlcjpwYXNz'],
  ];
  const targets = ['/tools/search', '/tools/%73earch', '/tools/Search', '/tools/search/', '/tools/other'];
  const requests = Array.from({ length: 240 }, (_, index) =>
    head(`${pick(targets, index)}?q=${index}`, [
      ...pick(credentials, Math.floor(index / targets.length)),
      `X-Forwarded-For: 198.51.100.${index}`,
      `x-forwarded-for: 2001:db8:${index}::1`,
      `X-Real-IP: 198.51.100.${index}`,
      `Forwarded: for=198.51.100.${index}`,
      `User-Agent: agent ${index}`,
      `Cookie: session=${index}`,
      `X-Request-Id: ${index}`,
    ]),
  );
  const all = await statuses(gateway.trafficUrl, requests);
  t.equal(all.length, 240);
  t.equal(240 - counted(all, 429), 60);
});

t.test('attack 33: a caller is counted by principal, however it presents itself', async (t) => {
  const gateway = await start(t, {
    classes: '',
    routes: `  - { path: /tools, upstream: registry, assertion: true, methods: [GET, HEAD], permission: read, class: read }
  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET, HEAD], permission: read, class: read }`,
  });
  const { key } = gateway.first.key;
  const login = await fetch(`${gateway.trafficUrl}/auth/api-key-login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ api_key: key }),
  });
  const { access_token: token } = (await login.json()) as { access_token: string };
  const credentials = [
    `Authorization: Bearer ${key}`,
    `AUTHORIZATION: bearer ${key}`,
    `X-API-Key: ${key}`,
    `x-aPi-kEy:${key}`,
    `authorization: BEARER    ${token}`,
  ];
  const targets = ['/tools', '/tools?page=1', '/tools/search?q=a', '/tools/%73earch?q=b', '/tools/none'];
  const requests = Array.from({ length: 240 }, (_, index) =>
    head(pick(targets, index), [
      pick(credentials, Math.floor(index / targets.length)),
      `X-Forwarded-For: 198.51.100.${index}`,
      `X-Auth-Subject: user:${index}`,
    ]),
  );
  const all = await statuses(gateway.trafficUrl, requests);
  t.equal(all.length, 240);
  t.equal(counted(all, 429), 180);
});

t.test('attack 34: 300 addresses of one IPv6 /64, behind a trusted proxy, have one bucket', async (t) => {
  const gateway = await start(t, {
    classes: '    open: { rate: 10/hour }',
    routes:
      '  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET], permission: none, class: open }',
    listen: ', trusted_proxies: [127.0.0.1]',
  });
  const spellings = [
    (host: string) => `2001:db8:1:2::${host}`,
    (host: string) => `2001:DB8:1:2::${host.toUpperCase()}`,
    (host: string) => `2001:0db8:0001:0002:0000:0000:0000:${host.padStart(4, '0')}`,
    (host: string) => `[2001:db8:1:2::${host}]:4711`,
    (host: string) => `2001:db8:1:2:${host}:${host}:1:1`,
    (host: string) => `203.0.113.9, 2001:db8:1:2::${host}`,
  ];
  const requests = Array.from({ length: 300 }, (_, index) =>
    head('/tools/search', [`X-Forwarded-For: ${pick(spellings, index)((index + 1).toString(16))}`]),
  );
  const all = await statuses(gateway.trafficUrl, requests);
  t.equal(all.length, 300);
  t.equal(300 - counted(all, 429), 10);
  const next = await statuses(gateway.trafficUrl, [
    head('/tools/search', ['X-Forwarded-For: 2001:db8:1:3::1']),
  ]);
  t.notSame(next, [429], 'the next /64 has a bucket of its own');
});

t.test('an IPv4 address has one bucket, written as IPv6 too', async (t) => {
  const gateway = await start(t, {
    classes: '    open: { rate: 2/hour }',
    routes:
      '  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET], permission: none, class: open }',
    listen: ', trusted_proxies: [127.0.0.1]',
  });
  const from = (...addresses: string[]) =>
    statuses(
      gateway.trafficUrl,
      addresses.map((address) => head('/tools/search', [`X-Forwarded-For: ${address}`])),
    );
  const all = await from('192.0.2.7', '::ffff:192.0.2.7', '192.0.2.7:80', '::FFFF:c000:207');
  t.equal(counted(all, 429), 2);
  t.equal(counted(await from('192.0.2.8'), 429), 0);
});

t.test('by route, all callers of one route share what it may cost the upstream', async (t) => {
  const gateway = await start(t, {
    classes: '    total: { rate: 5/hour, partition: route }',
    routes: `  - { path: /tools, upstream: registry, assertion: true, methods: [GET], permission: read, class: total }
  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET], permission: read, class: total }`,
  });
  const other = (await (
    await gateway.admin('POST', '/admin/api-keys', { name: 'other', can_read: true })
  ).json()) as { key: string };
  const ask = (target: string, count: number) =>
    statuses(
      gateway.trafficUrl,
      Array.from({ length: count }, (_, index) =>
        head(target, [`X-API-Key: ${pick([gateway.first.key.key, other.key], index)}`]),
      ),
    );
  t.equal(counted(await ask('/tools', 12), 200), 5);
  const [one, two] = [await ask('/tools/a', 6), await ask('/tools/b', 6)];
  t.equal(counted([...one, ...two], 429), 7, 'a template is one route, whatever stands for its *');
});

t.test('by user, the keys of one user have one bucket, however many they are', async (t) => {
  const gateway = await start(t, {
    classes: '    each: { rate: 6/hour, partition: user }',
    routes:
      '  - { path: /tools, upstream: registry, assertion: true, methods: [GET], permission: read, class: each }',
  });
  const make = async (path: string, body: object) => (await gateway.admin('POST', path, body)).json();
  const ada = (await make('/admin/users', {
    username: 'ada',
    password: 'a perfectly fine passphrase',
    can_read: true,
  })) as { id: string };
  const keys: string[] = [];
  for (const owner of [ada.id, ada.id, ada.id, null]) {
    const { key } = (await make('/admin/api-keys', { name: 'k', can_read: true, owner })) as { key: string };
    keys.push(key);
  }
  const token = await logIn(gateway.trafficUrl, 'ada', 'a perfectly fine passphrase');
  const hers = [...keys.slice(0, 3), token];
  const ask = (credentials: readonly string[]) =>
    statuses(
      gateway.trafficUrl,
      Array.from({ length: 24 }, (_, index) =>
        head('/tools', [`Authorization: Bearer ${pick(credentials, Math.floor(index / 4))}`]),
      ),
    );
  t.equal(counted(await ask(hers), 200), 6);
  t.equal(counted(await ask(keys.slice(3)), 200), 6, 'a key of nobody has its own');
});

t.test('what an unknown path answers is counted by address too', async (t) => {
  const gateway = await start(t, { classes: '', routes: '  []' });
  const keys: string[] = [];
  for (const name of ['a', 'b', 'c']) {
    const made = await gateway.admin('POST', '/admin/api-keys', { name, can_read: true });
    keys.push(((await made.json()) as { key: string }).key);
  }
  const requests = Array.from({ length: 90 }, (_, index) =>
    head(`/nothing/${index}`, [`X-API-Key: ${pick(keys, index)}`]),
  );
  const all = await statuses(gateway.trafficUrl, requests);
  // The login of the admin took one of the sixty.
  t.same([counted(all, 404), counted(all, 429)], [59, 31]);
});

t.test('a route takes what it costs, from the bucket that cheaper ones take from too', async (t) => {
  const gateway = await start(t, {
    classes: '    shared: { rate: 20/hour }',
    routes: `  - { path: /tools, upstream: registry, assertion: true, methods: [GET], permission: read, class: shared }
  - { path: /tools/search, upstream: registry, assertion: true, methods: [GET], permission: read, class: shared, cost: 5 }`,
  });
  const get = async (target: string) => {
    const response = await fetch(gateway.trafficUrl + target, {
      headers: { 'x-api-key': gateway.first.key.key },
    });
    return [response.status, Number(response.headers.get('x-ratelimit-remaining'))];
  };
  t.same(await get('/tools/search?q=a'), [200, 15]);
  t.same(await get('/tools'), [200, 14]);
  t.same(await get('/tools/search?q=a'), [200, 9]);
  t.same(await get('/tools/search?q=a'), [200, 4]);
  t.same(await get('/tools/search?q=a'), [429, 4], 'nothing is taken for what does not pass');
  t.same(await get('/tools'), [200, 3]);
});
