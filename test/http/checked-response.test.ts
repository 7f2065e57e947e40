import { once } from 'node:events';
import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import t from 'tap';
import { CheckedResponse, linesOf } from '../../src/http/checked-response.ts';
import { requestOf } from '../support/exchange.ts';

/** Made here, whatever the answer is. */
const ours = ['X-Frame-Options', 'DENY', 'X-Request-Id', 'request-1', 'Via', '1.1 portcullis'];

const body = fc.constantFrom('', 'hello');
const answer = body.chain((text) =>
  fc.record({
    status: fc.constantFrom(200, 201, 204, 206, 304, 404, 418, 500, 599),
    theirs: fc
      .subarray([
        ['Content-Length', String(text.length)],
        ['Content-Type', 'text/plain'],
        ['Date', 'Mon, 23 Nov 2026 00:00:00 GMT'],
        ['ETag', '"1"'],
        ['Set-Cookie', 'a=b'],
        ['Set-Cookie', 'c=d'],
        ['Connection', 'close'],
        ['Content-Disposition', 'attachment; filename="a.txt"'],
      ])
      .map((pairs) => pairs.flat()),
    body: fc.constant(text),
  }),
);
const head = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'POST'),
  httpVersion: fc.constantFrom('1.1' as const, '1.0' as const),
  keepAlive: fc.boolean(),
});

t.test(
  'a head of checked lines is byte for byte the one that writeHead makes of all its headers',
  async () => {
    await fc.assert(
      fc.asyncProperty(answer, head, async ({ status, theirs, body }, asked) => {
        const checked = await written(asked, status, body, (response) =>
          response.writeCheckedHead(status, linesOf(ours), theirs),
        );
        const plain = await written(asked, status, body, (response) =>
          response.writeHead(status, [...ours, ...theirs]),
        );
        return checked === plain && checked.includes(linesOf(ours));
      }),
    );
  },
);

t.test('where a head could not be written, the next one is without its lines', async (t) => {
  const response = new CheckedResponse(requestOf());
  t.throws(() => response.writeCheckedHead(200, 'X-A: 1\r\n', ['X-B', 'a\nb']), { code: 'ERR_INVALID_CHAR' });
  t.throws(() => response.writeCheckedHead(99, 'X-A: 1\r\n', []), { code: 'ERR_HTTP_INVALID_STATUS_CODE' });
  response.writeHead(502, ['Content-Length', '0']);
  t.notMatch(String((response as unknown as { _header: string })._header), 'X-A');
});

t.test(
  'a node:http that builds its heads in another way is found out, and no answer goes without its lines',
  async (t) => {
    const response = new CheckedResponse(requestOf());
    Object.assign(response, { _storeHeader: () => undefined });
    t.throws(() => response.writeCheckedHead(200, 'X-A: 1\r\n', []), { message: /another way/ });
  },
);

interface Asked {
  readonly method: string;
  readonly httpVersion: '1.0' | '1.1';
  readonly keepAlive: boolean;
}

/** All that goes to the socket, but for the date. */
async function written(
  { method, httpVersion, keepAlive }: Asked,
  status: number,
  body: string,
  writeHead: (response: CheckedResponse) => void,
): Promise<string> {
  const socket = new PassThrough();
  const response = new CheckedResponse(requestOf({ method, httpVersion }));
  response.shouldKeepAlive = keepAlive;
  response.assignSocket(socket as unknown as Socket);
  writeHead(response);
  response.end(status === 204 || status === 304 || method === 'HEAD' ? undefined : body);
  await once(response, 'finish');
  socket.end();
  return String(await buffer(socket)).replace(/^Date: .*\r\n/m, '');
}
