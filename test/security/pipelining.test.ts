/** Requests behind one another on a connection: one at a time, in their order (RFC 9112 §9.3.2), each on record. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t, { type Test } from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway } from '../support/gateway.ts';
import { startTlsGateway } from '../support/tls-gateway.ts';
import { type Edge, startEdge } from './edge.ts';

const okay = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const soonMs = 5_000;

/** An upstream that answers when it is told to, and the gateway before it. */
async function start(t: Test, listen = '') {
  const asked: Array<{ line: string; answer: (text?: string) => void }> = [];
  const edge = await startEdge(t, {
    listen,
    respond: (socket: Socket, chunk: string) => {
      for (const [line] of chunk.matchAll(/^(GET|POST) \S+/gm))
        asked.push({ line, answer: (text = okay) => socket.write(text) });
    },
  });
  const socket = connect(Number(new URL(edge.gateway.trafficUrl).port), '127.0.0.1');
  let text = '';
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  t.teardown(() => socket.destroy());
  const statuses = () => [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  return { edge, asked, socket, statuses };
}

async function until(what: () => boolean | Promise<boolean>, atMostMs = soonMs): Promise<void> {
  for (let waitedMs = 0; waitedMs < atMostMs && !(await what()); waitedMs += 20) await pause(20);
}

t.test('the second request is begun when the first is answered', async (t) => {
  const { edge, asked, socket, statuses } = await start(t);
  socket.write(
    `${edge.head('POST /tools HTTP/1.1', 'Content-Length: 2')}{}${edge.head('GET /tools/1 HTTP/1.1')}`,
  );
  await until(() => asked.length > 0);
  await pause(200);
  t.strictSame(
    asked.map(({ line }) => line),
    ['POST /tools'],
  );
  asked[0]?.answer();
  await until(() => asked.length > 1);
  t.strictSame(statuses(), [200]);
  asked[1]?.answer();
  await until(() => statuses().length > 1);
  t.strictSame(statuses(), [200, 200]);
  const { length } = asked;
  socket.write(edge.head('GET /tools/2 HTTP/1.1'));
  await until(() => asked.length > length);
  t.equal(asked[2]?.line, 'GET /tools/2', 'the connection goes on');
});

t.test(
  'what waits when its client leaves is not begun, takes nothing of a limit and is on record',
  async (t) => {
    const { edge, asked, socket } = await start(t);
    socket.write(edge.head('GET /tools/1 HTTP/1.1') + edge.head('GET /tools/2 HTTP/1.1').repeat(3));
    await until(() => asked.length > 0);
    socket.destroy();
    const records = async () =>
      (await edge.gateway.audit()).filter(({ path }) => /^\/tools\/./.test(String(path)));
    await until(async () => (await records()).length === 4);
    t.strictSame((await records()).map(({ path, code, principal }) => [path, code, principal]).sort(), [
      ['/tools/1', 'client_closed', edge.subject],
      ...Array(3).fill(['/tools/2', 'client_closed', null]),
    ]);
    t.equal(asked.length, 1);
  },
);

t.test('a fault in the body of one that waits is its own answer, after that of the one before', async (t) => {
  const { edge, asked, socket, statuses } = await start(t);
  socket.write(
    edge.head('GET /tools/1 HTTP/1.1') +
      edge.head('POST /tools HTTP/1.1', 'Transfer-Encoding: chunked') +
      'zz\r\nGET /tools/smuggled HTTP/1.1\r\n\r\n',
  );
  await until(() => asked.length > 0);
  await pause(100);
  t.strictSame(statuses(), [], 'no answer before that of the one under way');
  asked[0]?.answer();
  await until(() => socket.closed);
  t.strictSame(statuses(), [200, 400]);
  t.equal(asked.length, 1);
  const records = (await edge.gateway.audit()).filter(({ method }) => method === 'POST');
  t.match(records.at(-1), { status_code: 400, code: 'malformed_body' });
});

t.test('what is no request behind those that wait is refused after their answers', async (t) => {
  const { edge, asked, socket, statuses } = await start(t);
  socket.write(`${edge.head('GET /tools/1 HTTP/1.1').repeat(2)}rubbish\r\n\r\n`);
  for (const index of [0, 1]) {
    await until(() => asked.length > index);
    t.equal(statuses().length, index);
    asked[index]?.answer();
  }
  await until(() => socket.closed);
  t.strictSame(statuses(), [200, 200, 400]);
});

t.test('behind one that waits and asks for another protocol nothing is heard', async (t) => {
  const { edge, asked, socket, statuses } = await start(t);
  socket.write(
    edge.head('GET /tools/1 HTTP/1.1') +
      edge.head('GET /tools/2 HTTP/1.1', 'Upgrade: h2c', 'Connection: Upgrade') +
      edge.head('GET /tools/hidden HTTP/1.1'),
  );
  await until(() => asked.length > 0);
  socket.write(edge.head('GET /tools/smuggled HTTP/1.1'));
  await pause(100);
  for (const index of [0, 1]) {
    await until(() => asked.length > index);
    asked[index]?.answer();
  }
  await until(() => socket.closed);
  t.strictSame(
    asked.map(({ line }) => line),
    ['GET /tools/1', 'GET /tools/2'],
  );
  t.strictSame(statuses(), [200, 200]);
});

const upload = (bytes: number) => `{"name":"a","description":"${'x'.repeat(bytes - 29)}"}`;

for (const scheme of ['http', 'https'] as const)
  t.test(
    `over ${scheme}, bodies that wait arrive whole, however large, and the connection goes on`,
    async (t) => {
      const recorder = await startByteRecorder((socket, chunk) => {
        if (chunk.endsWith('}') || chunk.startsWith('GET')) setTimeout(() => socket.write(okay), 100);
      });
      const options = { directory: t.testdir(), registryUrl: recorder.url };
      const gateway = scheme === 'http' ? await startTestGateway(options) : await startTlsGateway(options);
      const port = Number(new URL(gateway.trafficUrl).port);
      const host = '127.0.0.1';
      const socket =
        scheme === 'http' ? connect(port, host) : connectTls({ port, host, rejectUnauthorized: false });
      let text = '';
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        text += data.toString('latin1');
      });
      t.teardown(async () => {
        socket.destroy();
        await gateway.close();
        await recorder.close();
      });
      const head = (line: string, more = '') =>
        `${line} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${gateway.first.key.key}\r\n${more}\r\n`;
      const post = (bytes: number) =>
        `${head('POST /tools', `Content-Type: application/json\r\nContent-Length: ${bytes}\r\n`)}${upload(bytes)}`;
      const answered = () => text.match(/HTTP\/1\.1 200 /g)?.length ?? 0;
      socket.write(head('GET /tools') + post(60_000).repeat(3) + post(200_000) + head('GET /tools'));
      await until(() => answered() === 6);
      t.strictSame(
        [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status),
        Array(6).fill('200'),
      );
      t.equal(recorder.bytes().split('{"name"').length, 5);
      t.equal(recorder.bytes().match(/x{59971}/g)?.length, 6, 'three of them in the large one');
      socket.write(head('GET /tools'));
      await until(() => answered() === 7);
      t.equal(answered(), 7);
    },
  );

for (const [what, begun, records] of [
  [
    'body',
    'POST /tools HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{',
    ['GET /tools/1', 'GET /tools/2', 'POST /tools'],
  ],
  ['head', 'POST /tools HTTP/1.1\r\nHo', [' ', 'GET /tools/1', 'GET /tools/2']],
] as const)
  t.test(`a client that ends its side in the middle of a ${what} that waits has left`, async (t) => {
    const { edge, asked, socket, statuses } = await start(t);
    socket.write(edge.head('GET /tools/1 HTTP/1.1') + edge.head('GET /tools/2 HTTP/1.1'));
    await until(() => asked.length > 0);
    socket.end(begun);
    await until(() => socket.closed);
    t.ok(socket.closed, 'without waiting for the upstream');
    t.strictSame(statuses(), []);
    const told = (await edge.gateway.audit()).filter(({ code }) => code === 'client_closed');
    t.strictSame(told.map(({ method, path }) => `${method} ${path ?? ''}`).sort(), records);
    t.equal(asked.length, 1);
  });

for (const [what, head] of [
  ['asked to be the last', (edge: Edge) => edge.head('GET /tools/1 HTTP/1.1', 'Connection: close')],
  ['is of HTTP/1.0', (edge: Edge) => edge.head('GET /tools/1 HTTP/1.0')],
] as const)
  t.test(`what stands behind a request that ${what} is no request, and leaves no record`, async (t) => {
    const { edge, asked, socket, statuses } = await start(t);
    const before = (await edge.gateway.audit()).length;
    socket.write(head(edge) + edge.head('GET /tools/2 HTTP/1.1'));
    await until(() => asked.length > 0);
    asked[0]?.answer();
    await until(() => socket.closed);
    t.strictSame(statuses(), [200]);
    t.match((await edge.gateway.audit()).slice(before), [{ path: '/tools/1', status_code: 200 }]);
    t.equal((await edge.gateway.audit()).length, before + 1);
  });

t.test('a reader who is too slow is cut off, whatever stands behind its request', async (t) => {
  const { edge, asked, socket } = await start(t, 'timeouts: { stall: 1s }, limits: { min_rate: 1MiB }');
  socket.pause();
  socket.write(`${edge.head('GET /tools/1 HTTP/1.1')}rubbish\r\n\r\n`);
  await until(() => asked.length > 0);
  asked[0]?.answer(`HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n${'a'.repeat(60_000_000)}`);
  // Never still for as long as a stall, and half as fast as it has to be.
  const drip = setInterval(() => socket.read(50_000), 100);
  t.teardown(() => clearInterval(drip));
  const isOver = async () => (await edge.gateway.audit()).some(({ path }) => path === '/tools/1');
  await until(isOver, 15_000);
  t.ok(await isOver());
});

t.test('the time that one had to take its answer does not cut off the next one', async (t) => {
  const held: Socket[] = [];
  const note = (message: unknown) => {
    const { request } = message as { request: IncomingMessage };
    if (request.url === '/tools/1') held.push(request.socket);
  };
  subscribe('http.server.request.start', note);
  t.teardown(() => unsubscribe('http.server.request.start', note));
  const { edge, asked, socket, statuses } = await start(
    t,
    'timeouts: { stall: 1s }, limits: { min_rate: 0B }',
  );
  socket.pause();
  socket.write(edge.head('GET /tools/1 HTTP/1.1') + edge.head('GET /tools/2 HTTP/1.1'));
  await until(() => asked.length > 0);
  const [server] = held;
  asked[0]?.answer('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  // The kernel's buffers are full, and the gateway's have room.
  for (let step = 0; step < 2_000 && server?.writableLength === 0; step += 1) {
    asked[0]?.answer(`2000\r\n${'a'.repeat(0x2000)}\r\n`);
    await pause(2);
  }
  asked[0]?.answer('0\r\n\r\n');
  await until(() => server?.timeout === 1_000);
  t.equal(server?.timeout, 1_000, 'the answer before waits for its reader');
  socket.resume();
  await until(() => asked.length > 1);
  await pause(1_500);
  asked[1]?.answer();
  await until(() => statuses().length > 1);
  t.strictSame(statuses(), [200, 200]);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
