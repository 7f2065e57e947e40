/** What never becomes a request, or ends as one that could not be read: over real sockets, with its record. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';

const upstream = await startByteRecorder();
const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: upstream.url });
t.teardown(async () => {
  await gateway.close();
  await upstream.close();
});

/** The records written since the last time. */
let seen = 0;
async function newRecords() {
  const records = await gateway.audit();
  const fresh = records.slice(seen);
  seen = records.length;
  return fresh;
}
t.beforeEach(async () => {
  await newRecords();
});

const key = `X-API-Key: ${gateway.first.key.key}`;
const post = 'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n';

for (const [name, request, status, code] of [
  [
    'a target with dots',
    `GET /tools/../admin HTTP/1.1\r\nHost: a\r\n${key}\r\n\r\n`,
    400,
    'ambiguous_target',
  ],
  ['two Hosts', `GET /tools HTTP/1.1\r\nHost: a\r\nHost: b\r\n${key}\r\n\r\n`, 400, 'repeated_header'],
  [
    'a version of the future',
    `GET /tools HTTP/2.0\r\nHost: a\r\n${key}\r\n\r\n`,
    505,
    'version_not_supported',
  ],
  ['TRACE', 'TRACE /tools HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'method_not_allowed'],
  ['CONNECT', 'CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n', 405, 'method_not_allowed'],
  ['no HTTP at all', '\x80\x2e\x01\x02\x00\r\n\r\n', 400, 'malformed_request'],
  [
    'two lengths',
    'POST /tools HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    400,
    'ambiguous_framing',
  ],
  [
    'a head over its bound',
    `GET /tools HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(17_000)}\r\n\r\n`,
    431,
    'headers_too_large',
  ],
  [
    'a bad chunk after a good one',
    `${post}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nZZ\r\n`,
    400,
    'malformed_body',
  ],
] as const)
  t.test(`${name}: ${status}, the connection ends, nothing goes on, one record says so`, async (t) => {
    const answer = await sendRaw(gateway.trafficUrl, request);
    t.equal(answer.status, status);
    t.equal(answer.closed, true);
    t.strictSame(answer.headers.get('connection'), ['close']);
    t.strictSame(answer.headers.get('x-frame-options'), ['DENY']);
    t.equal((JSON.parse(answer.body) as { code: string }).code, code);
    t.equal(upstream.bytes(), '');
    t.match(await newRecords(), [{ status_code: status, code, decision: 'deny', client_ip: '127.0.0.1' }]);
  });

t.test('what goes on behind a fault is neither answered nor recorded again', async (t) => {
  const answer = await sendRaw(
    gateway.trafficUrl,
    'RUBBISH\r\n\r\n',
    'more\r\n',
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'more\r\n',
  );
  t.equal(answer.text.match(/HTTP\/1\.1 \d/g)?.length, 1);
  t.equal((await newRecords()).length, 1);
});

t.test('rubbish behind a good request: the good one is answered first', async (t) => {
  const answer = await sendRaw(gateway.trafficUrl, 'GET /health HTTP/1.1\r\nHost: a\r\n\r\nRUBBISH\r\n\r\n');
  t.match(answer.text, /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 400 /);
  t.equal(answer.closed, true);
});

t.test('whoever resets the connection right behind a request is still known by address', async (t) => {
  const { hostname, port } = new URL(gateway.trafficUrl);
  for (let count = 0; count < 5; count += 1) {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    await sleep(20);
    socket.write('GET /tools HTTP/1.1\r\nHost: a\r\n\r\n');
    await new Promise(process.nextTick);
    socket.resetAndDestroy();
    await sleep(20);
  }
  const addresses = (await newRecords()).map(({ client_ip }) => client_ip);
  t.strictSame([...new Set(addresses)], ['127.0.0.1']);
});

for (const target of ['/tools?', '/tools?a=%2F..%2f&&b', '/tools/user%3a1'])
  t.test(`${target} goes on byte for byte`, async (t) => {
    upstream.reset();
    await sendRaw(gateway.trafficUrl, `GET ${target} HTTP/1.1\r\nHost: a\r\n${key}\r\n\r\n`);
    t.equal(upstream.bytes().split('\r\n')[0], `GET ${target} HTTP/1.1`);
    upstream.reset();
  });

t.test('a fault in a body is told behind the answer to a request before it, not in its middle', async (t) => {
  let finish = () => {};
  const slow = await startByteRecorder((socket, chunk) => {
    if (!chunk.includes('GET /tools')) return;
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nhalf');
    finish = () => socket.write('rest');
  });
  t.teardown(() => slow.close());
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: slow.url });
  t.teardown(() => gateway.close());
  const key = `X-API-Key: ${gateway.first.key.key}`;
  const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  client.on('error', () => undefined);
  let text = '';
  const closed = new Promise((resolve) => client.on('close', resolve));
  const half = new Promise<void>((resolve) =>
    client.on('data', (data) => {
      text += data;
      if (text.endsWith('half')) resolve();
    }),
  );
  client.write(`GET /tools HTTP/1.1\r\nHost: a\r\n${key}\r\n\r\n${post}Transfer-Encoding: chunked\r\n\r\n`);
  await half;
  client.write('no chunk\r\n');
  await sleep(200);
  t.ok(text.endsWith('\r\n\r\nhalf'), 'no word that could be taken for the rest');
  finish();
  await closed;
  t.match(text, /\r\n\r\nhalfrestHTTP\/1\.1 400 /);
});
