/** Attacks 1 to 10: where one request ends and the next begins. */
import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { readStrictly, strictValues } from '../support/strict-http.ts';
import { type Edge, startEdge } from './edge.ts';

const edge = await startEdge(t);
const { head } = edge;
const post = (...lines: string[]) => head('POST /tools HTTP/1.1', ...lines, 'Connection: close');
const hidden = 'GET /tools/hidden HTTP/1.1\r\nHost: a\r\n\r\n';

for (const [attack, request, statuses] of [
  [
    'attack 1: Content-Length with Transfer-Encoding',
    `${post('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  ],
  [
    'attack 1: Transfer-Encoding with Content-Length',
    `${post('Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n${hidden}`,
  ],
  [
    'attack 1: Transfer-Encoding with Content-Length: 0',
    `${post('Content-Length: 0', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  ],
  ['attack 2: Content-Length twice, two values', `${post('Content-Length: 5', 'Content-Length: 6')}hello!`],
  ['attack 2: Content-Length twice, one value', `${post('Content-Length: 5', 'Content-Length: 5')}hello`],
  ['attack 2: Content-Length: 5, 5', `${post('Content-Length: 5, 5')}hello`],
  ['attack 2: Content-Length: +5', `${post('Content-Length: +5')}hello`],
  ['attack 2: an empty Content-Length', post('Content-Length:')],
  ['attack 2: Content-Length: -1', post('Content-Length: -1')],
  ['attack 2: Content-Length: 0x5', `${post('Content-Length: 0x5')}hello`],
  ['attack 2: Content-Length: 5 5', `${post('Content-Length: 5 5')}hello`],
  ['attack 2: Content-Length over 2^64', `${post('Content-Length: 18446744073709551621')}hello`],
  ['attack 3: xchunked', `${post('Transfer-Encoding: xchunked')}0\r\n\r\n`],
  ['attack 3: ,chunked', `${post('Transfer-Encoding: ,chunked')}0\r\n\r\n`],
  ['attack 3: a no-break space before chunked', `${post('Transfer-Encoding: \xa0chunked')}0\r\n\r\n`],
  ['attack 3: a vertical tab before chunked', `${post('Transfer-Encoding: \x0bchunked')}0\r\n\r\n`],
  [
    'attack 3: two Transfer-Encoding lines',
    `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  ],
  [
    'attack 3: identity behind chunked',
    `${post('Transfer-Encoding: chunked', 'Transfer-Encoding: identity')}0\r\n\r\n`,
  ],
  ['attack 3: gzip, chunked', `${post('Transfer-Encoding: gzip, chunked')}0\r\n\r\n`],
  ['attack 3: "chunked"', `${post('Transfer-Encoding: "chunked"')}0\r\n\r\n`],
  ['attack 3: an empty Transfer-Encoding', post('Transfer-Encoding:')],
  [
    'attack 3: Transfer-Encoding with a space before its colon',
    `${post('Transfer-Encoding : chunked')}0\r\n\r\n`,
  ],
  ['attack 3: a folded Transfer-Encoding', `${post('Transfer-Encoding:\r\n chunked')}0\r\n\r\n`],
  [
    'attack 4: HTTP/1.0 with chunked',
    `${head('POST /tools HTTP/1.0', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  ],
  ['attack 5: no version', head('GET /tools'), [400, 505]],
  ['attack 5: HTTP/0.9', head('GET /tools HTTP/0.9'), [400, 505]],
  ['attack 5: HTTP/2.0', head('GET /tools HTTP/2.0'), [400, 505]],
  ['attack 5: HTTP/1.2', head('GET /tools HTTP/1.2'), [400, 505]],
  ['attack 5: http/1.1', head('GET /tools http/1.1'), [400, 505]],
  ['attack 5: HTTP/1.1 with a space behind it', head('GET /tools HTTP/1.1 '), [400, 505]],
  ['attack 6: Transfer_Encoding', `${post('Transfer_Encoding: chunked')}0\r\n\r\n`],
  ['attack 6: Content_Length', `${post('Content_Length: 5')}hello`],
  ['attack 6: transfer---encoding', `${post('transfer---encoding: chunked')}0\r\n\r\n`],
  ['attack 10: two Hosts', head('GET /tools HTTP/1.1', 'Host: evil.example')],
  ['attack 10: absolute form', head('GET http://evil.example/admin HTTP/1.1')],
  ['attack 10: absolute form of our own host', head('GET http://gateway.example/tools HTTP/1.1')],
  ['attack 10: GET *', head('GET * HTTP/1.1')],
  ['attack 10: OPTIONS *', head('OPTIONS * HTTP/1.1')],
  ['attack 10: CONNECT', head('CONNECT evil.example:443 HTTP/1.1'), [400, 405]],
  ['attack 10: TRACE', head('TRACE /tools HTTP/1.1'), [400, 405]],
  ['a NUL in a value', head('GET /tools HTTP/1.1', 'X-A: a\0b')],
  ['a bare LF between headers', 'GET /tools HTTP/1.1\nHost: a\nX-A: 1\n\n', [400, 505]],
  ['a bare CR in a value', head('GET /tools HTTP/1.1', 'X-A: a\rX-B: b')],
  ['a header without a name', head('GET /tools HTTP/1.1', ': 1')],
  ['white space before the first header', `GET /tools HTTP/1.1\r\n Host: a\r\n\r\n`],
] as ReadonlyArray<readonly [string, string, (readonly number[])?]>)
  t.test(`${attack} is refused`, async (t) => {
    await edge.refuses(t, statuses ?? 400, request);
  });

t.test('controls 1 to 3: a body under one length arrives byte for byte', async (t) => {
  const body = '\x00\xff\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n';
  const request = await edge.passes(t, `${post(`Content-Length: ${body.length}`)}${body}`);
  t.equal(request.body, body);
  t.equal(`${request.method} ${request.target}`, 'POST /tools');
  t.strictSame(strictValues(request, 'content-length'), [String(body.length)]);
});

t.test('controls 3, 4, 6 and 7: a body in chunks arrives byte for byte', async (t) => {
  const request = await edge.passes(
    t,
    post('Transfer-Encoding: chunked'),
    '5\r\nhello\r\n',
    '00006\r\n world\r\nA\r\n0123456789\r\n',
    '0\r\n\r\n',
  );
  t.equal(request.body, 'hello world0123456789');
  t.strictSame(strictValues(request, 'transfer-encoding'), ['chunked']);
});

t.test('control 5: HTTP/1.0 and HTTP/1.1 pass', async (t) => {
  for (const version of ['1.0', '1.1']) {
    const request = await edge.passes(
      t,
      head(`GET /tools?v=${version} HTTP/${version}`, 'Connection: close'),
    );
    t.equal(request.target, `/tools?v=${version}`);
  }
});

for (const [name, ...chunks] of [
  ['0x5', '0x5\r\nhello\r\n0\r\n\r\n'],
  ['+5', '+5\r\nhello\r\n0\r\n\r\n'],
  ['5\\r\\r;x', '5\r\r;x\r\nhello\r\n0\r\n\r\n'],
  ['5 (a bare LF behind it)', '5\nhello\r\n0\r\n\r\n'],
  ['-5', '-5\r\nhello\r\n0\r\n\r\n'],
  ['of 17 digits', '10000000000000005\r\nhello\r\n0\r\n\r\n'],
  ['that is too short for its data', '3\r\nhello\r\n0\r\n\r\n'],
  ['that is followed by rubbish', '5\r\nhello\r\n', 'ZZ\r\n0\r\n\r\n'],
  ['followed by 0x5', '5\r\nhello\r\n', '0x5\r\nhello\r\n0\r\n\r\n'],
  ['followed by a last chunk that ends in bare LF', '5\r\nhello\r\n', '0\n\n'],
] as const)
  t.test(`attack 7: a chunk size ${name} is 400, and the upstream sees no clean end`, async (t) => {
    edge.recorder.reset();
    const answer = await edge.send(post('Transfer-Encoding: chunked'), ...chunks);
    t.equal(answer.status, 400);
    t.ok(answer.closed);
    const sent = edge.recorder.byConnection();
    for (const bytes of sent) t.strictSame(readStrictly(bytes).requests, []);
    for (let tries = 0; tries < 100 && edge.recorder.closedConnections() < sent.length; tries += 1)
      await pause(20);
    t.equal(edge.recorder.closedConnections(), sent.length, 'the upstream’s socket is destroyed');
  });

t.test('attack 8: a GET that promises more than it sends leaves its upstream socket unused', async (t) => {
  const early = await startEdge(t, {
    respond: (socket, chunk) => {
      if (chunk.includes('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    },
  });
  const client = connect(Number(new URL(early.gateway.trafficUrl).port), '127.0.0.1');
  client.on('error', () => undefined);
  client.write(`${early.head('GET /tools/early HTTP/1.1', 'Content-Length: 1000')}hello`);
  const [answer] = await once(client, 'data');
  t.match(String(answer), /^HTTP\/1\.1 200 /, 'the upstream has answered early');
  await early.send(early.head('GET /tools/next HTTP/1.1', 'Connection: close'));
  client.destroy();
  const [first = '', ...others] = early.recorder.byConnection();
  t.match(first, /^GET \/tools\/early /);
  t.notMatch(first, /next/, 'never used again');
  t.match(others.join(), /^GET \/tools\/next /);
  t.equal(first.split('\r\n\r\n').slice(1).join(), 'hello');
});

t.test('control 8: a socket whose request was whole is used again', async (t) => {
  edge.recorder.reset();
  for (const name of ['a', 'b'])
    await edge.send(`${head(`POST /tools/${name} HTTP/1.1`, 'Content-Length: 5', 'Connection: close')}hello`);
  const sent = edge.recorder.byConnection().filter((bytes) => bytes !== '');
  t.equal(sent.length, 1);
  t.strictSame(
    readStrictly(sent[0] ?? '').requests.map(({ target, body }) => [target, body]),
    [
      ['/tools/a', 'hello'],
      ['/tools/b', 'hello'],
    ],
  );
});

for (const method of ['DELETE', 'OPTIONS', 'GET', 'HEAD', 'QUERY'])
  t.test(
    `attack 9: CVE-2026-29057: ${method} with a chunked body is one request, its body intact`,
    async (t) => {
      const body = 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\n';
      const request = await edge.passes(
        t,
        head(`${method} /tools/x HTTP/1.1`, 'Transfer-Encoding: chunked', 'Connection: close'),
        `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
      );
      t.equal(request.method, method);
      t.equal(request.body, body);
    },
  );

for (const [name, lines] of [
  [
    'h2c',
    ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'],
  ],
  ['a protocol nobody knows', ['Connection: Upgrade', 'Upgrade: foo/1']],
] as const)
  t.test(`attack 10: Upgrade: ${name} is stripped, and the request is a plain one`, async (t) => {
    edge.recorder.reset();
    const answer = await edge.send(head('GET /tools HTTP/1.1', ...lines));
    t.equal(answer.status, 200);
    const { requests } = readStrictly(edge.recorder.bytes());
    t.equal(requests.length, 1);
    for (const gone of ['upgrade', 'http2-settings'])
      t.strictSame(
        requests.flatMap((request) => strictValues(request, gone)),
        [],
        gone,
      );
    t.strictSame(
      requests.flatMap((request) => strictValues(request, 'connection')),
      ['keep-alive'],
    );
  });

t.test(
  'attack 10: a malformed handshake of a WebSocket is refused, and the upstream hears nothing',
  async (t) => {
    edge.recorder.reset();
    const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
    const answer = await edge.send(head('GET /tools HTTP/1.1', ...lines));
    t.equal(answer.status, 400);
    t.match(answer.body, 'malformed_handshake');
    t.equal(edge.recorder.bytes().length, 0);
  },
);

t.test('requests behind one another arrive one by one, each whole', async (t) => {
  await twoInOnePacket(t, edge);
});

async function twoInOnePacket(t: import('tap').Test, { recorder, send }: Edge): Promise<void> {
  recorder.reset();
  const first = `${head('POST /tools/1 HTTP/1.1', 'Content-Length: 5')}hello`;
  const answer = await send(first + head('GET /tools/2 HTTP/1.1', 'Connection: close'));
  t.equal(answer.text.match(/HTTP\/1\.1 200 /g)?.length, 2);
  const requests = recorder.byConnection().flatMap((bytes) => readStrictly(bytes).requests);
  t.strictSame(requests.map(({ target, body }) => [target, body]).sort(), [
    ['/tools/1', 'hello'],
    ['/tools/2', ''],
  ]);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
