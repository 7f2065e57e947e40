/** WebSockets through the gateway, with real servers and clients. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type ClientOptions, type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import { websocketProofMs } from '../../src/limits.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { programEnv, startProgram } from '../support/program.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
    rare: { rate: 2/hour }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
cors: { allowed_origins: https://app.example }
websockets: { open: 4, per_caller: 3 }
upstreams:
  app:
    url: "\${REGISTRY_URL}"
    timeouts: { connect: 500ms, response: 500ms, idle: 500ms }
routes:
  - { path: /ws/*, upstream: app, permission: read, class: read, websocket: true }
  - { path: /idle/*, upstream: app, permission: none, class: public, websocket: true, stream_idle: 400ms }
  - { path: /rare/*, upstream: app, permission: read, class: rare, websocket: true }
  - { path: /delete/*, upstream: app, permission: delete, class: read, websocket: true }
  - { path: /plain/*, upstream: app, permission: read, class: read }
`;

/** A real WebSocket server that says back what it hears. */
async function echoServer(t: Test, options: ServerOptions = {}) {
  const requests: IncomingMessage[] = [];
  const server = createServer((_request, response) => response.end('no WebSocket'));
  const sockets = new WebSocketServer({ ...options, server });
  sockets.on('connection', (socket, request) => {
    requests.push(request);
    socket.on('error', () => undefined);
    socket.on('message', (data, isBinary) => {
      if (data.toString() === 'close') socket.close(4001, 'as asked');
      else if (data.toString() === 'die') socket.terminate();
      else socket.send(data, { binary: isBinary });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, sockets };
}

/** Such a server, and the gateway before it. */
async function echoing(t: Test, options: ServerOptions = {}) {
  const { url, requests, sockets } = await echoServer(t, options);
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: url, yaml });
  t.teardown(() => gateway.close());
  return { gateway, requests, sockets };
}

function dial(gateway: TestGateway, path: string, options: ClientOptions = {}, protocols: string[] = []) {
  const socket = new WebSocket(gateway.trafficUrl.replace('http', 'ws') + path, protocols, {
    ...options,
    headers: { Authorization: `Bearer ${gateway.first.key.key}`, ...options.headers },
  });
  socket.on('error', () => undefined);
  return socket;
}

/** The status and body of the answer to a handshake that is refused. */
async function refused(
  socket: WebSocket,
): Promise<{ status: number; body: Record<string, unknown>; response: IncomingMessage }> {
  const [, response] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode ?? 0, body: JSON.parse(text), response };
}

async function recordsOf(gateway: TestGateway, path: string, count: number) {
  for (let tries = 0; tries < 100; tries += 1) {
    const found = (await gateway.audit()).filter((record) => record.path === path);
    if (found.length >= count) return found;
  }
  return [];
}

/** What a log says of requests, once nobody writes it any more. */
function requestRecords(path: string): Array<Record<string, unknown>> {
  return readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ stage }) => stage === 'open' || stage === 'complete');
}

t.test('messages pass both ways, and the audit log has one open and one complete', async (t) => {
  const { gateway, requests } = await echoing(t);
  const client = dial(gateway, '/ws/a%20b?x=1');
  const opened = once(client, 'open');
  const [upgrade] = (await once(client, 'upgrade')) as [IncomingMessage];
  t.equal(upgrade.headers['x-frame-options'], 'DENY');
  t.ok(upgrade.headers['x-request-id']);
  t.ok(upgrade.headers['x-ratelimit-limit']);
  await opened;
  const big = Buffer.alloc(3_000_000, 7);
  client.send(big);
  const [echoed] = (await once(client, 'message')) as [Buffer];
  t.ok(echoed.equals(big));
  t.equal(requests[0]?.url, '/ws/a%20b?x=1');
  t.equal(requests[0]?.headers['x-auth-subject'], `key:${gateway.first.key.id}`);
  t.notOk(requests[0]?.headers.authorization);
  client.close(1000, 'done');
  const [code] = await once(client, 'close');
  t.equal(code, 1000);
  const records = await recordsOf(gateway, '/ws/a%20b', 2);
  t.strictSame(
    records.map(({ stage, status_code, decision }) => [stage, status_code, decision]),
    [
      ['open', 101, 'allow'],
      ['complete', 101, 'allow'],
    ],
  );
  t.equal(records[0]?.id, records[1]?.id);
  t.equal(records[1]?.code, null);
  t.ok(Number(records[1]?.bytes_in) > 3_000_000);
  t.ok(Number(records[1]?.bytes_out) > 3_000_000);
});

t.test('subprotocols and extensions are agreed on by the two ends', async (t) => {
  const { gateway, requests } = await echoing(t, {
    perMessageDeflate: true,
    handleProtocols: (offered) => (offered.has('chat.v2') ? 'chat.v2' : false),
  });
  const client = dial(gateway, '/ws/x', { perMessageDeflate: true }, ['chat.v1', 'chat.v2']);
  await once(client, 'open');
  t.equal(client.protocol, 'chat.v2');
  t.match(client.extensions, /permessage-deflate/);
  t.equal(requests[0]?.headers['sec-websocket-protocol'], 'chat.v1,chat.v2');
  client.send('a'.repeat(10_000));
  t.equal(String((await once(client, 'message'))[0]).length, 10_000);
  client.terminate();
});

t.test('an upgrade meets the phases of any request, and their refusals are whole answers', async (t) => {
  const { gateway, requests } = await echoing(t);
  const missing = await refused(
    new WebSocket(`${gateway.trafficUrl.replace('http', 'ws')}/ws/x`).on('error', () => undefined),
  );
  t.equal(missing.status, 401);
  t.match(missing.body, { code: 'credential_missing', status: 401 });
  t.equal(missing.response.headers['x-frame-options'], 'DENY');
  t.equal(missing.response.headers.connection, 'close');
  t.match(missing.response.headers['www-authenticate'], /^Bearer/);
  t.match(await refused(dial(gateway, '/delete/x')), { status: 403, body: { code: 'permission_denied' } });
  t.match(await refused(dial(gateway, '/nowhere')), { status: 404, body: { code: 'route_not_found' } });
  t.match(await refused(dial(gateway, '/plain/x')), { status: 400, body: { code: 'websocket_refused' } });
  t.match(await refused(dial(gateway, '/auth/me')), { status: 400, body: { code: 'websocket_refused' } });
  const origin = (value: string) => dial(gateway, '/ws/x', { headers: { Origin: value } });
  t.match(await refused(origin('https://evil.example')), {
    status: 403,
    body: { code: 'origin_not_allowed' },
  });
  t.match(await refused(origin('null')), { status: 403, body: { code: 'origin_not_allowed' } });
  for (const _ of [1, 2]) {
    const client = dial(gateway, '/rare/x');
    await once(client, 'open');
    client.terminate();
  }
  t.match(await refused(dial(gateway, '/rare/x')), { status: 429, body: { code: 'rate_limited' } });
  t.equal(requests.length, 2, 'nothing else has reached the upstream');
  const allowed = origin('https://app.example');
  await once(allowed, 'open');
  allowed.terminate();
  const same = origin(gateway.trafficUrl);
  await once(same, 'open');
  same.terminate();
  const records = await recordsOf(gateway, '/delete/x', 1);
  t.match(records, [
    { stage: 'complete', status_code: 403, code: 'permission_denied', decision: 'deny', bytes_in: null },
  ]);
});

t.test('a plain request to such a route is a plain request', async (t) => {
  const { gateway } = await echoing(t);
  const answer = await fetch(`${gateway.trafficUrl}/ws/x`, {
    headers: { 'x-api-key': gateway.first.key.key },
  });
  t.equal(await answer.text(), 'no WebSocket');
});

t.test('the upstream’s close, and its death, reach the client', async (t) => {
  const { gateway } = await echoing(t);
  const closing = dial(gateway, '/ws/close');
  await once(closing, 'open');
  closing.send('close');
  const [code, reason] = await once(closing, 'close');
  t.equal(code, 4001);
  t.equal(String(reason), 'as asked');
  const dying = dial(gateway, '/ws/die');
  await once(dying, 'open');
  dying.send('die');
  t.equal((await once(dying, 'close'))[0], 1006);
});

t.test('a client that vanishes takes the upstream’s side with it', async (t) => {
  const { gateway, sockets } = await echoing(t);
  const client = dial(gateway, '/ws/gone');
  await once(client, 'open');
  const [theirs] = [...sockets.clients];
  if (theirs === undefined) throw new Error('nobody is there');
  const gone = once(theirs, 'close');
  client.terminate();
  await gone;
  const records = await recordsOf(gateway, '/ws/gone', 2);
  t.strictSame(
    records.map(({ stage }) => stage),
    ['open', 'complete'],
  );
});

t.test('silence ends a WebSocket, and any byte either way is life', async (t) => {
  const { gateway, sockets } = await echoing(t);
  const client = dial(gateway, '/idle/x');
  await once(client, 'open');
  const startedMs = performance.now();
  // The upstream's heartbeats alone, which the client's library answers.
  const beat = setInterval(() => {
    for (const socket of sockets.clients) socket.ping();
  }, 100);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  t.equal(client.readyState, WebSocket.OPEN, 'three idle times later');
  clearInterval(beat);
  await once(client, 'close');
  t.ok(performance.now() - startedMs > 1_300);
  const records = await recordsOf(gateway, '/idle/x', 2);
  t.match(records[1], { stage: 'complete', code: 'websocket_idle', status_code: 408 });
});

t.test('there may be so many, and of one caller so many, and a place is free again', async (t) => {
  const { gateway } = await echoing(t);
  const mine = [dial(gateway, '/ws/1'), dial(gateway, '/ws/2'), dial(gateway, '/ws/3')];
  await Promise.all(mine.map((client) => once(client, 'open')));
  t.match(await refused(dial(gateway, '/ws/4')), { status: 429, body: { code: 'too_many_websockets' } });
  const other = dial(gateway, '/idle/5');
  await once(other, 'open');
  const full = await refused(dial(gateway, '/idle/6'));
  t.match(full, { status: 503, body: { code: 'overloaded' } });
  t.ok(Number(full.response.headers['retry-after']) >= 1);
  const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  t.match(metrics, /^portcullis_websockets_open 4$/m);
  mine[0]?.terminate();
  await recordsOf(gateway, '/ws/1', 2);
  const again = dial(gateway, '/ws/7');
  await once(again, 'open');
  for (const client of [...mine, other, again]) client.terminate();
  for (const path of ['/ws/2', '/ws/3', '/idle/5', '/ws/7']) await recordsOf(gateway, path, 2);
  t.match(await (await fetch(`${gateway.operationsUrl}/metrics`)).text(), /^portcullis_websockets_open 0$/m);
});

t.test('a revoked key ends what it has opened, within seconds', async (t) => {
  const { gateway } = await echoing(t);
  const client = dial(gateway, '/ws/revoked');
  await once(client, 'open');
  const closed = once(client, 'close');
  const startedMs = performance.now();
  await gateway.admin('POST', `/admin/api-keys/${gateway.first.key.id}/toggle`, { is_active: false });
  await closed;
  t.ok(performance.now() - startedMs < 15_000);
  const records = await recordsOf(gateway, '/ws/revoked', 2);
  t.match(records[1], {
    stage: 'complete',
    code: 'invalid_credential',
    reason: 'disabled',
    status_code: 401,
  });
});

t.test('a permission taken away ends what it had opened', async (t) => {
  const { gateway } = await echoing(t);
  const client = dial(gateway, '/ws/demoted');
  await once(client, 'open');
  const closed = once(client, 'close');
  const changed = await gateway.admin('PATCH', `/admin/api-keys/${gateway.first.key.id}`, {
    can_read: false,
  });
  t.equal(changed.status, 200);
  await closed;
  const records = await recordsOf(gateway, '/ws/demoted', 2);
  t.match(records[1], { stage: 'complete', code: 'permission_denied', status_code: 403 });
});

for (const [what, before, after, path, code] of [
  [
    'asks for more',
    '/ws/*, upstream: app, permission: read',
    '/ws/*, upstream: app, permission: delete',
    '/ws/x',
    'permission_denied',
  ],
  [
    'is public no more',
    '/idle/*, upstream: app, permission: none',
    '/idle/*, upstream: app, permission: delete',
    '/idle/x',
    'permission_denied',
  ],
  ['is gone', '/ws/*,', '/elsewhere/*,', '/ws/x', 'websocket_refused'],
  [
    'takes none any longer',
    'read, class: read, websocket: true }',
    'read, class: read }',
    '/ws/x',
    'websocket_refused',
  ],
] as const) {
  t.test(`a new configuration ends what it would not let open: its route ${what}`, async (t) => {
    const { gateway } = await echoing(t);
    const patient = yaml.replace('stream_idle: 400ms', 'stream_idle: 60s');
    await gateway.reload(gateway.load(patient));
    const client = dial(gateway, path);
    await once(client, 'open');
    const closed = once(client, 'close');
    await gateway.reload(gateway.load(patient.replace(before, after)));
    const ended = await Promise.race([closed.then(() => true), sleep(15_000, false, { ref: false })]);
    client.terminate();
    t.ok(ended, 'within seconds');
    const records = await recordsOf(gateway, path, 2);
    t.match(records[1], { stage: 'complete', code });
  });
}

t.test('a new configuration leaves open what it would let open', async (t) => {
  const { gateway } = await echoing(t);
  const client = dial(gateway, '/ws/x');
  await once(client, 'open');
  await gateway.reload(
    gateway.load(`${yaml}  - { path: /more/*, upstream: app, permission: read, class: read }\n`),
  );
  await sleep(2 * websocketProofMs + 500);
  client.send('still here');
  const [echoed] = await once(client, 'message');
  t.equal(String(echoed), 'still here');
  client.terminate();
});

t.test('when the gateway ends, its WebSockets end, and are on record', async (t) => {
  const { gateway } = await echoing(t);
  const client = dial(gateway, '/ws/x');
  await once(client, 'open');
  const closed = once(client, 'close');
  const startedMs = performance.now();
  await gateway.close();
  await closed;
  t.ok(performance.now() - startedMs < 8_000, 'well under the grace time');
  t.match(requestRecords(gateway.auditPath).at(-1), {
    stage: 'complete',
    path: '/ws/x',
    code: 'shutting_down',
  });
});

t.test('the program ends in good order with a WebSocket open', async (t) => {
  const directory = t.testdir({ 'gateway.yaml': yaml });
  const { url } = await echoServer(t);
  const program = startProgram(['start', '--config', join(directory, 'gateway.yaml')], {
    ...programEnv(directory),
    LOG_LEVEL: 'info',
    REGISTRY_URL: url,
  });
  t.teardown(() => program.stop('SIGKILL'));
  let traffic = '';
  for (let tries = 0; tries < 500 && traffic === ''; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    traffic = /"traffic":"([^"]+)"/.exec(program.stderr())?.[1] ?? '';
  }
  const client = new WebSocket(`${traffic.replace('http', 'ws')}/idle/x`);
  client.on('error', () => undefined);
  await once(client, 'open');
  client.send('hello');
  t.equal(String((await once(client, 'message'))[0]), 'hello');
  const closed = once(client, 'close');
  const { exitCode, stderr } = await program.stop('SIGTERM');
  t.equal(exitCode, 0, stderr);
  await closed;
  t.match(requestRecords(join(directory, 'audit.log')), [
    { stage: 'open', status_code: 101 },
    { stage: 'complete', code: 'shutting_down', bytes_in: Number, bytes_out: Number },
  ]);
});

t.test('a client that reads nothing of the answer to its handshake is cut off', async (t) => {
  const server = createServer();
  server.on('upgrade', (_request, socket) => {
    socket.on('error', () => undefined);
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n');
    const block = Buffer.alloc(1024 * 1024);
    const more = () => {
      while (!socket.destroyed && socket.write(block));
      if (!socket.destroyed) socket.once('drain', more);
    };
    more();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    yaml: yaml
      .replace('listen: {', 'listen: { timeouts: { stall: 300ms },')
      .replace('idle: 500ms', 'idle: 1h'),
  });
  t.teardown(() => gateway.close());
  const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  t.teardown(() => client.destroy());
  client.on('error', () => undefined);
  client.write(
    'GET /idle/a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  const [record] = await recordsOf(gateway, '/idle/a', 1);
  t.match(record, { stage: 'complete', code: 'client_closed' });
});
