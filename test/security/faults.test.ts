/** Attacks 38 and 40: an upstream that fails, and the end of the program. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, createServer, get } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { edgeYaml, startEdge } from './edge.ts';

/** A gateway in front of an upstream that does as it likes with each head. */
const misbehaving = (t: Test, respond: (socket: Socket, chunk: string) => void) => startEdge(t, { respond });

async function inFront(t: Test, registryUrl: string) {
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl, yaml: edgeYaml() });
  t.teardown(() => gateway.close());
  return gateway;
}

t.test('attack 38: an upstream that refuses is 502', async (t) => {
  const gateway = await inFront(t, 'http://127.0.0.1:9');
  const response = await fetch(`${gateway.trafficUrl}/open/x`);
  t.match(await response.json(), { status: 502, code: 'upstream_unreachable' });
});

t.test('attack 38: an upstream that does not even accept is 504 after the connect time', async (t) => {
  const gateway = await inFront(t, await unaccepting(t));
  const response = await fetch(`${gateway.trafficUrl}/open/x`);
  t.match(await response.json(), { status: 504, code: 'upstream_timeout' });
});

t.test('attack 38: an upstream that is silent is 504, and a POST is not repeated', async (t) => {
  const { gateway, recorder } = await misbehaving(t, () => undefined);
  const response = await fetch(`${gateway.trafficUrl}/open/x`, { method: 'POST', body: 'x' });
  t.match(await response.json(), { status: 504, code: 'upstream_timeout' });
  t.equal(recorder.bytes().match(/POST/g)?.length, 1);
});

t.test(
  'attack 38: an upstream that resets before its answer is 502, and a POST is not repeated',
  async (t) => {
    const { gateway, recorder } = await misbehaving(t, (socket) => socket.resetAndDestroy());
    const response = await fetch(`${gateway.trafficUrl}/open/x`, { method: 'POST', body: 'x' });
    t.match(await response.json(), { status: 502, code: 'upstream_unreachable' });
    t.equal(recorder.bytes().match(/POST/g)?.length, 1);
  },
);

t.test('attack 38: an upstream that talks nonsense is 502', async (t) => {
  const { gateway } = await misbehaving(t, (socket) => socket.end('SSH-2.0-OpenSSH\r\n'));
  t.match(await (await fetch(`${gateway.trafficUrl}/open/x`)).json(), { status: 502 });
});

const heads = {
  'under a length': 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc',
  'in chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
};
for (const [framing, head] of Object.entries(heads)) {
  for (const [end, ending] of [
    ['closes', (socket: Socket) => socket.end()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
    ['falls silent', () => undefined],
  ] as const)
    t.test(
      `attack 38: an upstream that ${end} in the middle of a body ${framing}: no clean end`,
      async (t) => {
        const edge = await misbehaving(t, (socket, chunk) => {
          if (!chunk.includes('\r\n\r\n')) return;
          socket.write(head);
          setTimeout(() => ending(socket), 50);
        });
        const closed = await readUntilClosed(edge.gateway.trafficUrl);
        t.match(closed, /^HTTP\/1\.1 200 [\s\S]*abc/);
        t.notMatch(closed, /\r\n0\r\n\r\n$/, 'the client’s connection is cut, not ended');
        t.match((await edge.gateway.audit()).at(-1), { code: 'upstream_cut_off', decision: 'error' });
      },
    );
}

t.test('control 38: an upstream that behaves is passed on whole', async (t) => {
  const edge = await startEdge(t);
  await edge.passes(t, edge.head('GET /tools HTTP/1.1', 'Connection: close'));
});

t.test('attack 40: SIGTERM: readiness fails, what is in flight finishes, exit 0', async (t) => {
  const directory = t.testdir();
  const slow = createServer((_request, response) => {
    setTimeout(() => response.end('done'), 1_500);
  });
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  t.teardown(() => {
    slow.closeAllConnections();
    slow.close();
  });
  const program = startProgram(['start'], {
    ...programEnv(directory),
    LOG_LEVEL: 'info',
    REGISTRY_URL: `http://127.0.0.1:${(slow.address() as AddressInfo).port}`,
  });
  t.teardown(() => program.stop('SIGKILL'));
  const said = (name: string) => new RegExp(`"${name}":"([^"]+)"`).exec(program.stderr())?.[1];
  for (let tries = 0; tries < 1_000 && said('operations') === undefined; tries += 1) await pause(20);
  const ready = async () => (await fetch(`${said('operations')}/readyz`)).status;
  t.equal(await ready(), 200);
  const create = ['key', 'create', '--name', 'k', '--permissions', 'read', '--json'];
  const { key } = JSON.parse((await runProgram(create, programEnv(directory))).stdout) as { key: string };
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const request = get(`${said('traffic')}/tools`, { agent, headers: { 'x-api-key': key } });
  await pause(300);
  const stopping = program.stop('SIGTERM');
  await pause(200);
  t.equal(await ready(), 503, 'no new traffic is sent here');
  const [response] = await once(request, 'response');
  t.equal(response.statusCode, 200);
  t.equal(response.headers.connection, 'close');
  response.resume();
  const startedMs = performance.now();
  t.equal((await stopping).exitCode, 0);
  t.ok(performance.now() - startedMs < 6_000, 'well under the grace time and the idle time');
});

/** What comes until the other side closes. */
async function readUntilClosed(url: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  let text = '';
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  socket.write('GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(socket, 'close');
  return text;
}

/** A port whose program is stopped and whose queue is full: the kernel answers no more connections. */
async function unaccepting(t: Test): Promise<string> {
  const script =
    "require('net').createServer().listen({port:0,host:'127.0.0.1',backlog:1},function(){console.log(this.address().port)})";
  const child: ChildProcess = spawn(process.execPath, ['-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [data] = await once(child.stdout ?? child, 'data');
  const port = Number(String(data));
  child.kill('SIGSTOP');
  const sockets = Array.from({ length: 8 }, () => connect(port, '127.0.0.1'));
  for (const socket of sockets) socket.on('error', () => undefined);
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
  });
  await pause(300);
  return `http://127.0.0.1:${port}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
