/**
 * WebSocket and h2c smuggling: a client must not get a way to an upstream that has not agreed to this very WebSocket.
 * Raw bytes on both sides; the upstream records every one that reaches it.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type ByteRecorder, startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';

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
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams:
  app:
    url: "\${REGISTRY_URL}"
    timeouts: { connect: 500ms, response: 600ms, idle: 600ms }
    ejection: { failures: 0 }
    breaker: { failures: 0 }
routes:
  - { path: /ws/*, upstream: app, permission: none, class: public, websocket: true }
  - { path: /signed/*, upstream: app, permission: read, class: read, websocket: true, assertion: true }
  - { path: /plain/*, upstream: app, permission: none, class: public }
`;

const key = 'dGhlIHNhbXBsZSBub25jZQ==';
const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const agreed = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n`;
const smuggled = 'GET /admin/secret HTTP/1.1\r\nHost: a\r\nX-Auth-Subject: user:admin\r\n\r\n';

/** A well-formed handshake, with lines replaced by name (an empty value leaves one out) and added. */
function handshake(
  changes: Readonly<Record<string, string>> = {},
  more = '',
  start = 'GET /ws/x HTTP/1.1',
): string {
  const lines: Record<string, string> = {
    Host: 'a',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': key,
    ...changes,
  };
  const head = Object.entries(lines).filter(([, value]) => value !== '');
  return `${start}\r\n${head.map(([name, value]) => `${name}: ${value}\r\n`).join('')}${more}\r\n`;
}

async function recording(
  t: Test,
  answer: string | undefined,
): Promise<{ recorder: ByteRecorder; gateway: TestGateway; upstream: () => Socket | undefined }> {
  let last: Socket | undefined;
  const recorder = await startByteRecorder((socket, chunk) => {
    last = socket;
    if (answer !== undefined && chunk.includes('\r\n\r\n')) socket.write(Buffer.from(answer, 'latin1'));
  });
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: recorder.url, yaml });
  t.teardown(() => gateway.close());
  t.teardown(() => recorder.close());
  return { recorder, gateway, upstream: () => last };
}

function dial(gateway: TestGateway): Socket {
  const socket = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  socket.on('error', () => undefined);
  return socket;
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 300 && !condition(); tries += 1) await pause(10);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Sends the handshake, and what is smuggled as soon as there is an answer; gives all that came back, and whether it ended. */
async function smuggle(gateway: TestGateway, request: string): Promise<{ text: string; closed: boolean }> {
  const socket = dial(gateway);
  let text = '';
  let closed = false;
  socket.on('data', (data) => {
    if (text === '') socket.write(smuggled);
    text += data.toString('latin1');
  });
  socket.on('close', () => {
    closed = true;
  });
  socket.write(request);
  await until(() => closed);
  socket.destroy();
  return { text, closed };
}

t.test(
  'control: an agreed WebSocket passes every byte both ways, and the target as it was sent',
  async (t) => {
    const { recorder, gateway, upstream } = await recording(t, `${agreed}\r\n\x81\x02hi`);
    const socket = dial(gateway);
    let text = '';
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    socket.write(handshake({}, '', "GET /ws/a%20b,'v=1c:@?q='%3C&&q=2? HTTP/1.1"));
    await until(() => text.endsWith('\x81\x02hi'));
    t.ok(text.startsWith('HTTP/1.1 101 Switching Protocols\r\n'));
    t.match(text, new RegExp(`\r\nSec-WebSocket-Accept: ${accept.replaceAll('+', '\\+')}\r\n`));
    t.ok(text.endsWith('\r\n\r\n\x81\x02hi'), 'what the upstream says right behind its 101 is not lost');
    t.equal(recorder.bytes().split('\r\n')[0], "GET /ws/a%20b,'v=1c:@?q='%3C&&q=2? HTTP/1.1");
    const headLength = recorder.bytes().length;
    const odd = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    socket.write(odd);
    await until(() => recorder.bytes().length >= headLength + odd.length);
    t.equal(recorder.bytes().slice(headLength), odd.toString('latin1'));
    text = '';
    upstream()?.write(odd);
    await until(() => text.length >= odd.length);
    t.equal(text, odd.toString('latin1'));
    socket.destroy();
  },
);

t.test('ours are told to the upstream and hop-by-hop headers are not, whatever is nominated', async (t) => {
  const { recorder, gateway } = await recording(t, `${agreed}\r\n`);
  const socket = dial(gateway);
  socket.write(
    handshake(
      { Connection: 'keep-alive, Upgrade, X-Auth-Subject, X-Auth-Assertion, X-Hop, Host' },
      `X-API-Key: ${gateway.first.key.key}\r\nX-Auth-Subject: user:admin\r\nx_auth_subject: user:admin\r\n` +
        'X-Auth-Assertion: forged\r\nX-Hop: 1\r\nX-Forwarded-For: 6.6.6.6\r\nTE: trailers\r\nX-Twice: 1\r\nX-Twice: 2\r\n' +
        'Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n__proto__: x\r\n',
      'GET /signed/x HTTP/1.1',
    ),
  );
  await once(socket, 'data');
  socket.destroy();
  const lines = (recorder.bytes().split('\r\n\r\n')[0] ?? '')
    .split('\r\n')
    .map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));
  const values = (name: string) =>
    lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
  t.strictSame(values('x-auth-subject'), [`key:${gateway.first.key.id}`]);
  t.equal(values('x-auth-assertion').length, 1);
  t.match(values('x-auth-assertion')[0], /^eyJ/);
  t.strictSame(values('connection'), ['Upgrade']);
  t.strictSame(values('upgrade'), ['websocket']);
  t.strictSame(values('host'), ['a']);
  t.strictSame(values('x-twice'), ['1', '2']);
  t.strictSame(values('x-forwarded-for'), ['127.0.0.1']);
  t.strictSame(values('sec-websocket-protocol'), ['chat']);
  t.strictSame(values('sec-websocket-extensions'), ['permessage-deflate']);
  for (const gone of ['x-hop', 'te', 'x_auth_subject', 'x-api-key', '__proto__', 'keep-alive'])
    t.strictSame(values(gone), [], `${gone} does not pass`);
});

t.test(
  'an upstream that does not switch: its answer is relayed, and nothing follows on either side',
  async (t) => {
    const answers = {
      426: 'HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nno!',
      403: 'HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!',
      200: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n3\r\nno!\r\n0\r\n\r\n',
      204: 'HTTP/1.1 204 No Content\r\n\r\n',
      // With the words of an agreement, but for the status.
      400: `${agreed.replace('101 Switching Protocols', '400 Bad Request')}Content-Length: 0\r\n\r\n`,
    };
    for (const [status, answer] of Object.entries(answers)) {
      const { recorder, gateway } = await recording(t, answer);
      const { text, closed } = await smuggle(gateway, handshake());
      t.ok(text.startsWith(`HTTP/1.1 ${status} `), status);
      t.match(text, /\r\nX-Frame-Options: DENY\r\n/);
      t.match(text, /\r\nConnection: close\r\n/);
      t.ok(closed);
      t.equal(
        recorder.bytes().match(/HTTP\/1\.1\r\n/g)?.length,
        1,
        'one request alone has reached the upstream',
      );
      t.notMatch(recorder.bytes(), /secret/);
      const complete = (await gateway.audit()).filter(
        ({ path, stage }) => path === '/ws/x' && stage === 'complete',
      );
      t.match(complete, [{ status_code: Number(status) }]);
      t.notOk((await gateway.audit()).some(({ stage }) => stage === 'open'));
    }
  },
);

t.test('a 101 that does not accept this handshake is 502, and nothing passes', async (t) => {
  const wrong = {
    'another key’s acceptance': agreed.replace(accept, 'AAAAAAAAAAAAAAAAAAAAAAAAAAA='),
    'no acceptance': agreed.replace(/Sec-WebSocket-Accept[^\r]*\r\n/, ''),
    'another protocol': agreed.replace('Upgrade: websocket', 'Upgrade: h2c'),
    'no upgrade': 'HTTP/1.1 101 Switching Protocols\r\n',
    'two acceptances': `${agreed}Sec-WebSocket-Accept: x\r\n`,
  };
  for (const [name, answer] of Object.entries(wrong)) {
    const { recorder, gateway } = await recording(t, `${answer}\r\nleak`);
    const { text, closed } = await smuggle(gateway, handshake());
    t.ok(text.startsWith('HTTP/1.1 502 '), name);
    t.match(text, /"code":"upstream_invalid"/);
    t.notMatch(text, /leak/);
    t.ok(closed);
    t.notMatch(recorder.bytes(), /secret/);
  }
});

t.test('a 101 that nobody asked for is 502', async (t) => {
  const { recorder, gateway } = await recording(t, `${agreed}\r\n`);
  const { text } = await smuggle(
    gateway,
    'POST /plain/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx',
  );
  t.ok(text.startsWith('HTTP/1.1 502 '));
  t.notMatch(recorder.bytes(), /secret/);
});

t.test('a version other than 13 is 426 from us, and does not reach the upstream', async (t) => {
  const { recorder, gateway } = await recording(t, `${agreed}\r\n`);
  for (const version of ['1337', '8', '13, 8', '']) {
    const { text, closed } = await smuggle(gateway, handshake({ 'Sec-WebSocket-Version': version }));
    t.ok(text.startsWith(version === '' ? 'HTTP/1.1 400 ' : 'HTTP/1.1 426 '), version);
    if (version !== '') t.match(text, /\r\nSec-WebSocket-Version: 13\r\n/);
    t.ok(closed);
  }
  t.equal(recorder.connections(), 0);
});

t.test('what is not exactly one handshake is 400, and does not reach the upstream', async (t) => {
  const { recorder, gateway } = await recording(t, `${agreed}\r\n`);
  const cases: Record<string, string> = {
    'another method': handshake({}, '', 'POST /ws/x HTTP/1.1'),
    'HTTP/1.0': handshake({}, '', 'GET /ws/x HTTP/1.0'),
    'a body with a length': `${handshake({}, 'Content-Length: 5\r\n')}hello`,
    'no body with a length': handshake({}, 'Content-Length: 0\r\n'),
    'a body in chunks': `${handshake({}, 'Transfer-Encoding: chunked\r\n')}0\r\n\r\n`,
    'a key that is short': handshake({ 'Sec-WebSocket-Key': 'AAAA' }),
    'a key with bits left over': handshake({ 'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZR==' }),
    'no key': handshake({ 'Sec-WebSocket-Key': '' }),
    'two keys': handshake({}, `Sec-WebSocket-Key: ${key}\r\n`),
    'a key in disguise': handshake({}, `Sec_WebSocket_Key: ${key}\r\n`),
    'two versions': handshake({}, 'Sec-WebSocket-Version: 13\r\n'),
    'two upgrades': handshake({}, 'Upgrade: websocket\r\n'),
    'h2c first': handshake({ Upgrade: 'h2c, websocket' }),
    'h2c behind': handshake({ Upgrade: 'websocket, h2c' }),
    'a version in the name': handshake({ Upgrade: 'websocket/13' }),
    'h2c’s settings': handshake({}, 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n'),
    'no Connection': handshake({ Connection: 'keep-alive' }),
    'a request right behind it': handshake() + smuggled,
    'a frame right behind it': `${handshake()}\x81\x80\x00\x00\x00\x00`,
  };
  for (const [name, request] of Object.entries(cases)) {
    const answer = await sendRaw(gateway.trafficUrl, request);
    t.equal(answer.status, 400, name);
    t.ok(answer.closed, name);
    t.match(answer.body, /"request_id"/);
  }
  const expecting = await sendRaw(gateway.trafficUrl, handshake({}, 'Expect: 100-continue\r\n'));
  t.equal(expecting.status, 417);
  const behind = await sendRaw(gateway.trafficUrl, `GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n${handshake()}`);
  t.match(behind.text, /^HTTP\/1\.1 401 [\s\S]*HTTP\/1\.1 400 /, 'in their order');
  t.equal(recorder.connections(), 0);
});

t.test('other protocols are not heard: h2c is stripped, and the request goes on as it is', async (t) => {
  const { recorder, gateway } = await recording(t, 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  for (const path of ['/ws/x', '/plain/x']) {
    const answer = await sendRaw(
      gateway.trafficUrl,
      `GET ${path} HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n`,
    );
    t.equal(answer.status, 200);
  }
  t.notMatch(recorder.bytes(), /upgrade|h2c|http2-settings/i);
});

t.test(
  'behind what asks for another protocol nothing is a request, wherever its packets are cut',
  async (t) => {
    const { recorder, gateway, upstream } = await recording(t, undefined);
    const inside = 'GET /plain/inside HTTP/1.1\r\nHost: a\r\n\r\n';
    for (const asks of ['Upgrade: h2c', 'Upgrade: foo/1', 'Upgrade: h2c\r\nContent-Length: 2']) {
      recorder.reset();
      const client = dial(gateway);
      let text = '';
      client.on('data', (data) => {
        text += data;
      });
      const body = asks.includes('Length') ? 'hi' : '';
      const first = `GET /plain/first HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n${asks}\r\n\r\n${body}`;
      const second = `POST /plain/second HTTP/1.1\r\nHost: a\r\nContent-Length: ${inside.length}\r\n\r\n`;
      client.write(first + second);
      for (let tries = 0; tries < 200 && !recorder.bytes().includes('/plain/first'); tries += 1)
        await sleep(10);
      // The body of the second, while the first has no answer yet.
      client.write(inside);
      await sleep(100);
      const closed = once(client, 'close');
      upstream()?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      await closed;
      t.match(text, /\r\nConnection: close\r\n[\s\S]*\r\n\r\nok$/, asks);
      t.notMatch(recorder.bytes(), 'inside', asks);
      t.notMatch(recorder.bytes(), 'second', asks);
    }
  },
);

t.test('a client that speaks before it has its answer is cut off, and is not heard', async (t) => {
  const { recorder, gateway, upstream } = await recording(t, undefined);
  const socket = dial(gateway);
  let text = '';
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  const closed = once(socket, 'close');
  socket.write(handshake());
  await until(() => recorder.bytes().includes('\r\n\r\n'));
  socket.write(smuggled);
  await closed;
  t.equal(text, '');
  await until(() => upstream()?.destroyed === true);
  t.ok(upstream()?.destroyed, 'the upstream is told at once');
  t.notMatch(recorder.bytes(), /secret/);
  const records = (await gateway.audit()).filter(({ path }) => path === '/ws/x');
  t.match(records, [{ stage: 'complete', code: 'malformed_handshake', decision: 'deny' }]);
});

t.test('a client that leaves before the answer takes the upstream’s handshake with it', async (t) => {
  const { recorder, gateway, upstream } = await recording(t, undefined);
  const socket = dial(gateway);
  socket.write(handshake());
  await until(() => recorder.bytes().includes('\r\n\r\n'));
  socket.end();
  await until(() => upstream()?.destroyed === true);
  t.ok(upstream()?.destroyed);
  t.match((await gateway.audit()).at(-1), { path: '/ws/x', code: 'client_closed', status_code: 499 });
});

t.test('a silent upstream is 504, one that refuses or talks nonsense 502', async (t) => {
  const silent = await recording(t, undefined);
  const slow = await smuggle(silent.gateway, handshake());
  t.match(slow.text, /^HTTP\/1\.1 504 [\s\S]*"code":"upstream_timeout"/);
  const nonsense = await recording(t, 'SSH-2.0-OpenSSH\r\n');
  t.match(
    (await smuggle(nonsense.gateway, handshake())).text,
    /^HTTP\/1\.1 502 [\s\S]*"code":"upstream_invalid"/,
  );
  const refusing = await recording(t, undefined);
  await refusing.recorder.close();
  t.match(
    (await smuggle(refusing.gateway, handshake())).text,
    /^HTTP\/1\.1 502 [\s\S]*"code":"upstream_unreachable"/,
  );
});

t.test('the upstream’s 101 says only what is its to say', async (t) => {
  const { gateway } = await recording(
    t,
    `${agreed.replace('Connection: Upgrade', 'Connection: Upgrade, X-Secret')}X-Secret: 1\r\nX-Frame-Options: ALLOWALL\r\n` +
      'X-Request-Id: theirs\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\nAccess-Control-Allow-Origin: *\r\n\r\n',
  );
  const answer = await sendRaw(gateway.trafficUrl, handshake());
  t.equal(answer.status, 101);
  t.strictSame(answer.headers.get('connection'), ['Upgrade']);
  t.strictSame(answer.headers.get('upgrade'), ['websocket']);
  t.strictSame(answer.headers.get('x-frame-options'), ['DENY']);
  t.strictSame(answer.headers.get('set-cookie'), ['a=1', 'b=2']);
  for (const gone of ['x-secret', 'content-length', 'transfer-encoding', 'access-control-allow-origin'])
    t.notOk(answer.headers.has(gone), gone);
});
