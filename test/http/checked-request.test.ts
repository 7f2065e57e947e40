import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Dispatcher, Client as UsualClient } from 'undici';
import { CheckedClient, rawHeadersOf, requestHead } from '../../src/http/checked-request.ts';

/** An upstream that keeps every byte, and answers each head. */
async function start(t: Test) {
  let bytes = '';
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      bytes += data.toString('latin1');
      socket.write(
        'HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nx-a: \xe9\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n',
        'latin1',
      );
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const clients = { checked: new CheckedClient(url), usual: new UsualClient(url) };
  t.teardown(async () => {
    await Promise.all(Object.values(clients).map((client) => client.destroy()));
    server.close();
  });
  const sent = async (client: UsualClient, more: object, body: Buffer | null) => {
    bytes = '';
    await answerTo(client, { path: '/a', method: body === null ? 'GET' : 'POST', body, ...more });
    return bytes;
  };
  return { ...clients, sent };
}

function answerTo(client: UsualClient, options: object): Promise<Dispatcher.DispatchController> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController;
    client.dispatch(options as Dispatcher.DispatchOptions, {
      onRequestStart: (own) => {
        controller = own;
      },
      onResponseStart: () => undefined,
      onResponseData: () => undefined,
      onResponseEnd: () => resolve(controller),
      onResponseError: (_controller, error) => reject(error),
    });
  });
}

const name = fc
  .stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/)
  .filter(
    (text) => !/^(?:host|content-length|connection|expect|keep-alive|transfer-encoding|upgrade)$/i.test(text),
  );
const value = fc.oneof(
  fc.stringMatching(/^[!-~][\t -~]{0,40}$/),
  fc.constantFrom('', '\xe9\xff', ': ', 'a: b', '__proto__'),
);
const flat = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((pairs) => pairs.flat());
const body = fc.constantFrom(null, Buffer.from('{}'));

t.test('what is said in lines is byte for byte what undici says of the same headers', async (t) => {
  const { checked, usual, sent } = await start(t);
  await fc.assert(
    fc.asyncProperty(flat, body, fc.boolean(), async (more, body, withHost) => {
      const headers = [
        ...(withHost ? ['Host', 'a.example'] : []),
        ...more,
        ...(body === null ? [] : ['Content-Length', String(body.length)]),
      ];
      const said = await sent(checked, requestHead(headers), body);
      return said === (await sent(usual, { headers }, body)) && said.includes('/a HTTP/1.1');
    }),
    { numRuns: 300 },
  );
});

t.test("what frames a message is undici's to say, or to refuse", async (t) => {
  const { checked, sent } = await start(t);
  for (const [name, value] of [
    ['Transfer-Encoding', 'chunked'],
    ['UPGRADE', 'h2c'],
    ['Keep-Alive', '1'],
    ['Expect', '100-continue'],
    ['Content-Length', '3'],
  ] as const) {
    const head = requestHead(['X-A', '1', name, value]);
    t.strictSame(head.headers, [name, value]);
    await t.rejects(sent(checked, head, Buffer.from('{}')), name);
  }
});

t.test('a value that would end its line is never sent', async (t) => {
  const { checked, sent } = await start(t);
  for (const bad of ['a\r\nX-Auth-Subject: admin', 'a\nb', 'a\rb', 'a\0', 'a\x7f', '\u0100', '\u2028']) {
    const head = requestHead(['X-A', '1', 'X-B', bad]);
    t.equal(head.lines, '');
    await t.rejects(sent(checked, head, null), { code: 'UND_ERR_INVALID_ARG' }, encodeURIComponent(bad));
  }
});

t.test("an answer's header lines are told as they came", async (t) => {
  const { checked } = await start(t);
  const controller = await answerTo(checked, { path: '/', method: 'GET', ...requestHead([]) });
  t.strictSame(
    rawHeadersOf(controller).map((text) => text.toString('latin1')),
    ['Set-Cookie', 'a', 'x-a', '\xe9', 'Set-Cookie', 'b', 'Content-Length', '0'],
  );
});

t.test('whoever else uses undici gets what it always gave', async (t) => {
  const { usual, checked } = await start(t);
  t.not(checked.constructor, usual.constructor);
  for (const client of [usual, checked]) {
    const { headers } = await client.request({ path: '/', method: 'GET' });
    t.strictSame(headers['set-cookie'], ['a', 'b']);
  }
});
