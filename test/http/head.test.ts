/** Heads as node:http parses them from real bytes: what it hides, `checkHead` must still see. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { Refusal } from '../../src/errors.ts';
import { checkHead, hasBody } from '../../src/http/head.ts';
import { requestOf } from '../support/exchange.ts';
import { sendRaw } from '../support/raw-client.ts';

const headerCountMax = 100;

/** Answers 200 where the head passes, else the refusal's status with its code as the body. As lenient as ours is. */
const server = createServer({ requireHostHeader: false, insecureHTTPParser: false }, (request, response) => {
  try {
    checkHead(request, { headersMax: headerCountMax, targetBytesMax: 8_192 });
    response.writeHead(200, { Connection: 'close' }).end('passed');
  } catch (error) {
    const refusal = error instanceof Refusal ? error : new Refusal('internal_error');
    response.writeHead(refusal.status, { Connection: 'close' }).end(refusal.code);
  }
});
server.maxHeadersCount = 0;
server.listen(0, '127.0.0.1');
await once(server, 'listening');
t.teardown(() => server.close());
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const head = (...lines: string[]) => `GET /tools HTTP/1.1\r\n${['Host: a', ...lines].join('\r\n')}\r\n\r\n`;
const manyHeaders = (count: number) => Array.from({ length: count }, (_, index) => `X${index}: 1`);

for (const [name, request] of [
  ['a plain request', head()],
  ['a body of a declared length', `${head('Content-Length: 2')}ok`],
  ['a chunked body', `${head('Transfer-Encoding: chunked')}0\r\n\r\n`],
  ['a chunked body in another case', `${head('transfer-encoding: Chunked')}0\r\n\r\n`],
  ['repeated headers that are lists', head('Accept: a', 'Accept: b', 'Cookie: a=1', 'Cookie: b=2')],
  ['HTTP/1.0 without Host', 'GET / HTTP/1.0\r\n\r\n'],
  ['HTTP/1.0 with a length', 'POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nok'],
  ['an IPv6 host', 'GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n'],
  ['a host with a port', 'GET / HTTP/1.1\r\nHost: gateway.example:8000\r\n\r\n'],
  ['as many headers as are allowed', head(...manyHeaders(headerCountMax - 1))],
] as const)
  t.test(`takes ${name}`, async (t) => {
    t.match(await sendRaw(url, request), { status: 200, body: 'passed' });
  });

for (const [name, request, status, code] of [
  ['two Hosts', head('Host: b'), 400, 'repeated_header'],
  ['the same Host twice', head('host: a'), 400, 'repeated_header'],
  ['two Authorizations', head('Authorization: Bearer a', 'authorization: Bearer b'), 400, 'repeated_header'],
  ['two API keys', head('X-API-Key: a', 'x-api-key: b'), 400, 'repeated_header'],
  ['two Content-Types', head('Content-Type: a/b', 'Content-Type: a/c'), 400, 'repeated_header'],
  ['two Content-Encodings', head('Content-Encoding: gzip', 'Content-Encoding: br'), 400, 'repeated_header'],
  ['two Origins', head('Origin: http://a', 'Origin: http://b'), 400, 'repeated_header'],
  ['Transfer_Encoding', head('Transfer_Encoding: chunked'), 400, 'ambiguous_framing'],
  ['transfer---encoding', head('transfer---encoding: chunked'), 400, 'ambiguous_framing'],
  ['Content_Length', head('Content_Length: 5'), 400, 'ambiguous_framing'],
  ['Content__Length', head('Content__Length: 5'), 400, 'ambiguous_framing'],
  [
    'HTTP/1.0 with Transfer-Encoding',
    'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    400,
    'ambiguous_framing',
  ],
  ['gzip under chunked', `${head('Transfer-Encoding: gzip, chunked')}0\r\n\r\n`, 400, 'ambiguous_framing'],
  ['a comma before chunked', `${head('Transfer-Encoding: ,chunked')}0\r\n\r\n`, 400, 'ambiguous_framing'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400, 'malformed_request'],
  ['an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400, 'malformed_request'],
  ['a Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400, 'malformed_request'],
  ['a Host with a user', 'GET / HTTP/1.1\r\nHost: a@b\r\n\r\n', 400, 'malformed_request'],
  ['a Host that is a list', 'GET / HTTP/1.1\r\nHost: a, b\r\n\r\n', 400, 'malformed_request'],
  ['a bad Host in HTTP/1.0', 'GET / HTTP/1.0\r\nHost: a/b\r\n\r\n', 400, 'malformed_request'],
  ['HTTP/2.0 on a plain line', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505, 'version_not_supported'],
  ['HTTP/0.9 in words', 'GET / HTTP/0.9\r\nHost: a\r\n\r\n', 505, 'version_not_supported'],
  ['a header more than is allowed', head(...manyHeaders(headerCountMax)), 431, 'headers_too_large'],
  [
    '2,000 headers',
    head(...manyHeaders(2_000).map((line) => line.replace(/: 1/, ':'))),
    431,
    'headers_too_large',
  ],
] as const)
  t.test(`refuses ${name}`, async (t) => {
    const answer = await sendRaw(url, request);
    t.match({ status: answer.status, body: answer.body }, { status, body: code });
  });

for (const [name, request] of [
  [
    'Content-Length with Transfer-Encoding',
    `${head('Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
  ],
  ['two Content-Lengths', `${head('Content-Length: 5', 'Content-Length: 6')}hello`],
  ['the same Content-Length twice', `${head('Content-Length: 5', 'Content-Length: 5')}hello`],
  ['Content-Length: 5, 5', `${head('Content-Length: 5, 5')}hello`],
  ['Content-Length: +5', `${head('Content-Length: +5')}hello`],
  ['Content-Length: -1', head('Content-Length: -1')],
  ['an empty Content-Length', head('Content-Length:')],
  ['two Transfer-Encodings', `${head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')}0\r\n\r\n`],
  ['chunked twice in one line', `${head('Transfer-Encoding: chunked, chunked')}0\r\n\r\n`],
  ['xchunked', `${head('Transfer-Encoding: xchunked')}0\r\n\r\n`],
  ['a no-break space before chunked', `${head('Transfer-Encoding: \xa0chunked')}0\r\n\r\n`],
  ['a folded header', head('X-A: 1', ' folded')],
  ['a space before the colon', head('Transfer-Encoding : chunked')],
  ['a missing version', 'GET /\r\nHost: a\r\n\r\n'],
  ['a bare LF', 'GET / HTTP/1.1\nHost: a\n\n'],
] as const)
  t.test(`${name} passes neither the parser nor the check`, async (t) => {
    const { status, text } = await sendRaw(url, request);
    t.notMatch(text, /passed/);
    t.ok(status === 400 || status === 505, String(status));
  });

for (const [headers, announced] of [
  [[], false],
  [['Content-Length', '0'], false],
  [['Content-Length', '1'], true],
  [['Transfer-Encoding', 'chunked'], true],
] as const)
  t.test(`${headers.join(': ') || 'nothing'} announces ${announced ? 'a' : 'no'} body`, async (t) => {
    t.equal(hasBody(requestOf({ headers })), announced);
  });
