/** The edge between parsers, and a client's ways to leave: found by attacking the running gateway, kept here by name. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';

async function start(t: Test, respond?: Parameters<typeof startByteRecorder>[0]) {
  const recorder = await startByteRecorder(respond);
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: recorder.url });
  t.teardown(async () => {
    await gateway.close();
    await recorder.close();
  });
  const port = Number(new URL(gateway.trafficUrl).port);
  const open = (): Socket => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    return socket;
  };
  const metric = async (pattern: RegExp) => {
    const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    return Number(pattern.exec(text)?.[1]);
  };
  return { recorder, gateway, open, metric, key: gateway.first.key.key };
}

t.test('CONNECT and a reset at once do not end the process', async (t) => {
  const { gateway, open } = await start(t);
  for (let round = 0; round < 30; round += 1) {
    const socket = open();
    await once(socket, 'connect');
    socket.write('CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n');
    if (round % 2 === 0) await pause(1);
    socket.resetAndDestroy();
  }
  await pause(100);
  t.equal((await fetch(`${gateway.trafficUrl}/health`)).status, 200);
});

t.test('what is pipelined before a CONNECT is on record, and gives its place back', async (t) => {
  const { gateway, open, metric, key } = await start(t, () => undefined);
  for (let round = 0; round < 5; round += 1) {
    const socket = open();
    socket.write(
      `GET /tools HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`.repeat(2) +
        'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n',
    );
    await Promise.race([once(socket, 'close'), pause(500)]);
    socket.destroy();
  }
  let inFlight = -1;
  for (let tries = 0; tries < 100 && inFlight !== 0; tries += 1) {
    await pause(20);
    inFlight = await metric(/portcullis_http_requests_in_flight (\d+)/);
  }
  t.equal(inFlight, 0);
  const records = (await gateway.audit()).filter(({ path }) => path === '/tools');
  t.equal(records.length, 10, 'each request has its record');
  t.equal(new Set(records.map(({ id }) => id)).size, 10);
});

t.test('CWE-444: what stands behind a refused, ambiguous request is never looked at', async (t) => {
  const { recorder, gateway, key } = await start(t);
  const good = `GET /tools/SMUGGLED HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\n\r\n`;
  await sendRaw(gateway.trafficUrl, good.replace('SMUGGLED', 'warm'));
  t.match(recorder.bytes(), /\/tools\/warm/, 'well formed, it passes');
  for (const [name, head] of [
    ['a length in disguise', `POST /tools HTTP/1.1\r\nHost: a\r\nContent_Length: ${good.length}\r\n\r\n`],
    ['a coding in disguise', 'POST /tools HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n'],
    ['two hosts', 'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
    ['dot segments', 'GET /tools/../x HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['TRACE', 'TRACE /health HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a body nobody read', `POST /tools HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`],
  ] as const) {
    recorder.reset();
    const answer = await sendRaw(gateway.trafficUrl, head + good + good);
    t.ok(answer.status >= 400, `${name}: ${answer.status}`);
    if (name !== 'a body nobody read') t.ok(answer.closed, name);
    if (answer.headers.get('connection')?.includes('close')) t.notMatch(recorder.bytes(), /SMUGGLED/, name);
  }
});

t.test('one fault of the parser is one record, however many packets follow it', async (t) => {
  const { gateway, open } = await start(t);
  const socket = open();
  socket.write('GARBAGE\r\n\r\n');
  for (let packet = 0; packet < 50 && !socket.destroyed; packet += 1) {
    socket.write('x');
    await pause(1);
  }
  socket.destroy();
  t.equal((await gateway.audit()).filter(({ code }) => code === 'malformed_request').length, 1);
});

t.test('the upstream’s bytes do not get into our log, and rubbish is 502 upstream_invalid', async (t) => {
  const { gateway, key } = await start(t, (socket) => socket.end('SECRET-UPSTREAM-TEXT\r\n\r\n'));
  const response = await fetch(`${gateway.trafficUrl}/tools`, { headers: { 'x-api-key': key } });
  t.match(await response.json(), { status: 502, code: 'upstream_invalid' });
});

t.test('CWE-532: a credential put where none belongs is masked in the record, escaped or not', async (t) => {
  const { gateway, key } = await start(t);
  const escaped = key.replaceAll('_', '%5F');
  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlc2lnbmF0dXJl';
  for (const text of [key, escaped, jwt, jwt.replaceAll('.', '%2E')]) {
    await sendRaw(
      gateway.trafficUrl,
      `GET /x/${text.replaceAll('%2E', '.')}?${text}&a=${text} HTTP/1.1\r\nHost: a\r\nUser-Agent: ${text}\r\nConnection: close\r\n\r\n`,
    );
  }
  const log = JSON.stringify(await gateway.audit());
  const secret = key.split('_')[2] ?? '';
  t.notOk(log.includes(secret), 'the key’s secret');
  t.notOk(log.includes('c2lnbmF0dXJl'), 'the token’s signature');
});

t.test('a mistyped path of ours is not found, whatever a catch-all says', async (t) => {
  const recorder = await startByteRecorder();
  const yaml = `version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits: { classes: { public: { rate: 100/minute }, read: { rate: 100/minute }, write: { rate: 100/minute }, admin: { rate: 100/minute } } }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { app: { url: "\${REGISTRY_URL}" } }
routes: [{ path: /*, upstream: app, permission: none, class: public }]
`;
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: recorder.url, yaml });
  t.teardown(async () => {
    await gateway.close();
    await recorder.close();
  });
  for (const [method, path, status] of [
    ['POST', '/auth/logn', 401],
    ['GET', '/auth/login', 405],
    ['DELETE', '/admin/users', 401],
    ['GET', '/elsewhere', 200],
  ] as const) {
    const response = await fetch(gateway.trafficUrl + path, { method });
    t.equal(response.status, status, `${method} ${path}`);
  }
  t.notMatch(recorder.bytes(), /auth|admin/);
});

t.test('a revoked key is known no longer', async (t) => {
  const { gateway } = await start(t);
  const made = (await (
    await gateway.admin('POST', '/admin/api-keys', { name: 'k', can_read: true })
  ).json()) as {
    id: string;
    key: string;
  };
  const get = async (credential: string) =>
    (await fetch(`${gateway.trafficUrl}/auth/me`, { headers: { authorization: `Bearer ${credential}` } }))
      .status;
  t.equal(await get(made.key), 200);
  await gateway.admin('POST', `/admin/api-keys/${made.id}/toggle`, { is_active: false });
  await Promise.all(Array.from({ length: 40 }, () => get('a.b.c')));
  await get(made.key);
  t.equal(await get(made.key), 429, 'its look-up is refused like any other');
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
