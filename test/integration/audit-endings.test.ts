/** Whatever becomes of a request, there is exactly one record that says how it ended, in the form that is published. */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { linesOf, schemaFault } from '../support/audit.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}", timeouts: { headers: 1s, request: 2s, idle: 1s } }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
    once: { rate: 1/day }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams:
  app: { url: "\${REGISTRY_URL}", timeouts: { response: 300ms, idle: 300ms } }
  away: { url: "http://127.0.0.1:9" }
routes:
  - { path: /app/*, upstream: app, permission: none, class: public }
  - { path: /once, upstream: app, permission: none, class: once }
  - { path: /json, upstream: app, permission: none, class: public, inspect: json, max_body: 1KiB }
  - { path: /secret, upstream: app, permission: delete, class: read }
  - { path: /away, upstream: away, permission: none, class: public }
`;

/** An upstream whose answer the path decides. */
const answers: Readonly<Record<string, (response: ServerResponse) => void>> = {
  '/app/silent': () => undefined,
  '/app/reset': (response) => response.socket?.destroy(),
  '/app/cut': (response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('half');
    setTimeout(() => response.socket?.destroy(), 50);
  },
  '/app/stuck': (response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('half');
  },
  '/app/stream': (response) => {
    response.writeHead(200);
    for (let part = 0; part < 5; part += 1) setTimeout(() => response.write(`part ${part}`), part * 20);
    setTimeout(() => response.end(), 150);
  },
};

async function startUpstream() {
  const server = createServer((request, response) => {
    request.resume();
    const answer = answers[request.url ?? ''] ?? ((given: ServerResponse) => given.end('ok'));
    answer(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Sends, and leaves after a moment without waiting for an answer. */
async function leave(url: string, bytes: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(bytes);
  await sleep(100);
  socket.destroy();
}

const head = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, 'Host: a', ...headers, '', ''].join('\r\n');

interface Ending {
  readonly title: string;
  readonly end: (gateway: TestGateway) => Promise<unknown>;
  /** One for each request sent; a status, with the code where there is one. */
  readonly records: ReadonlyArray<readonly [status: number, code: string | null]>;
}

const raw =
  (...bytes: readonly string[]) =>
  (gateway: TestGateway) =>
    sendRaw(gateway.trafficUrl, ...bytes);
const left = (bytes: string) => (gateway: TestGateway) => leave(gateway.trafficUrl, bytes);

const endings: readonly Ending[] = [
  { title: 'an answer of the upstream', end: raw(head('GET /app/x')), records: [[200, null]] },
  { title: 'HEAD', end: raw(head('HEAD /app/x')), records: [[200, null]] },
  { title: 'a change', end: raw(head('DELETE /app/x')), records: [[200, null]] },
  { title: 'a stream', end: raw(head('GET /app/stream')), records: [[200, null]] },
  { title: 'a local answer', end: raw(head('GET /health')), records: [[200, null]] },
  {
    title: 'three in one go',
    end: raw(head('GET /app/a') + head('GET /app/b') + head('GET /app/c')),
    records: [
      [200, null],
      [200, null],
      [200, null],
    ],
  },
  {
    title: 'a malformed handshake of a WebSocket',
    end: raw(head('GET /app/x', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13')),
    records: [[400, 'malformed_handshake']],
  },
  {
    title: 'an upgrade that nobody takes',
    end: raw(head('GET /app/x', 'Connection: Upgrade', 'Upgrade: h2c')),
    records: [[200, null]],
  },
  {
    title: 'CONNECT',
    end: raw('CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'),
    records: [[405, 'method_not_allowed']],
  },
  { title: 'no HTTP at all', end: raw('\x00\x01\x02'), records: [[400, 'malformed_request']] },
  {
    title: 'TLS on a port of plain HTTP',
    end: raw('\x16\x03\x01\x02\x00'),
    records: [[400, 'tls_on_http_port']],
  },
  {
    title: 'a head that is too large',
    end: raw(head('GET /app/x', `X: ${'x'.repeat(20_000)}`)),
    records: [[431, 'headers_too_large']],
  },
  {
    title: 'ambiguous framing',
    end: raw(head('POST /app/x', 'Content-Length: 5', 'Transfer-Encoding: chunked')),
    records: [[400, 'ambiguous_framing']],
  },
  {
    title: 'a fault in the middle of a body',
    end: raw(head('POST /app/silent', 'Transfer-Encoding: chunked'), '5\r\nhello\r\nxyz\r\n'),
    records: [[400, 'malformed_body']],
  },
  {
    title: 'rubbish behind a request',
    end: raw(`${head('GET /app/x')}\x00\x01\r\n\r\n`),
    records: [
      [200, null],
      [400, 'malformed_request'],
    ],
  },
  {
    title: 'a target with two readings',
    end: raw(head('GET /app/../x')),
    records: [[400, 'ambiguous_target']],
  },
  { title: 'no credential', end: raw(head('GET /secret')), records: [[401, 'credential_missing']] },
  {
    title: 'a wrong credential',
    end: raw(head('GET /secret', 'Authorization: Bearer nonsense')),
    records: [[401, 'invalid_credential']],
  },
  {
    title: 'no permission',
    end: (gateway) =>
      fetch(`${gateway.trafficUrl}/secret`, { headers: { 'x-api-key': gateway.first.key.key } }),
    records: [[403, 'permission_denied']],
  },
  { title: 'no route', end: raw(head('GET /nowhere')), records: [[401, 'credential_missing']] },
  {
    title: 'over the rate',
    end: raw(head('GET /once') + head('GET /once')),
    records: [
      [200, null],
      [429, 'rate_limited'],
    ],
  },
  {
    title: 'a body that is too large',
    end: raw(head('POST /json', 'Content-Type: application/json', 'Content-Length: 2000')),
    records: [[413, 'body_too_large']],
  },
  {
    title: 'an upstream that is away',
    end: raw(head('GET /away')),
    records: [[502, 'upstream_unreachable']],
  },
  {
    title: 'an upstream that resets',
    end: raw(head('GET /app/reset')),
    records: [[502, 'upstream_unreachable']],
  },
  { title: 'a silent upstream', end: raw(head('GET /app/silent')), records: [[504, 'upstream_timeout']] },
  {
    title: 'an upstream that stops in its answer',
    end: raw(head('GET /app/cut')),
    records: [[502, 'upstream_cut_off']],
  },
  {
    title: 'a client that leaves before the answer',
    end: left(head('GET /app/silent')),
    records: [[499, 'client_closed']],
  },
  {
    title: 'a client that leaves in the answer',
    end: left(head('GET /app/stuck')),
    records: [[499, 'client_closed']],
  },
  {
    title: 'a client that leaves in its own body',
    end: left(`${head('POST /json', 'Content-Type: application/json', 'Content-Length: 500')}{`),
    records: [[499, 'client_closed']],
  },
  {
    title: 'a client that leaves in its own head',
    end: left('GET /app/x HTTP/1.1\r\nHos'),
    records: [[499, 'client_closed']],
  },
];

t.test('endings', async (t) => {
  const upstream = await startUpstream();
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: upstream.url, yaml });
  t.teardown(async () => {
    await gateway.close();
    upstream.server.closeAllConnections();
    upstream.server.close();
  });
  for (const { title, end, records } of endings) {
    await t.test(`${title}: one record for each request`, async (t) => {
      const before = await gateway.audit();
      await end(gateway);
      let completes: Array<Record<string, unknown>> = [];
      // A silence of the upstream's takes its time to be noticed.
      for (let tries = 0; tries < 60 && completes.length < records.length; tries += 1) {
        await sleep(50);
        completes = (await gateway.audit()).slice(before.length).filter(({ stage }) => stage === 'complete');
      }
      await sleep(150);
      completes = (await gateway.audit()).slice(before.length).filter(({ stage }) => stage === 'complete');
      t.strictSame(
        completes.map(({ status_code, code }) => `${status_code} ${code}`).sort(),
        records.map(([status, code]) => `${status} ${code}`).sort(),
      );
      t.equal(new Set(completes.map(({ id }) => id)).size, completes.length, 'each has an id of its own');
    });
  }
  await t.test('a failed login names the user that it was for, and never what is no user', async (t) => {
    const before = await gateway.audit();
    for (const username of ['ADMIN', 'my-password-by-mistake']) {
      const body = new URLSearchParams({ username, password: 'wrong' });
      await fetch(`${gateway.trafficUrl}/auth/login`, { method: 'POST', body });
    }
    const records = (await gateway.audit()).slice(before.length).filter(({ stage }) => stage === 'complete');
    t.match(records, [
      { reason: 'wrong_password', principal: null, credential_id: `user:${gateway.first.admin.id}` },
      { reason: 'unknown_user', principal: null, credential_id: null },
    ]);
    t.notMatch(JSON.stringify(records), /by-mistake/);
  });
  await t.test('every line of it fits the published schema', async (t) => {
    await gateway.auditLog.signNow();
    await gateway.auditLog.flush();
    for (const line of linesOf(gateway.auditPath)) t.equal(schemaFault(line), undefined);
  });
});
