/** Clients that stall, leave, or stay: none of them may hold what others need, nor vanish from the record. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { programEnv, startProgram } from '../support/program.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}", timeouts: { stall: 300ms } }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams: { app: { url: "\${REGISTRY_URL}", connections: 1, pending: 0 } }
routes:
  - { path: /*, upstream: app, permission: none, class: public }
`;

async function serve(t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a client that stops reading is cut off, and its place at the upstream is free again', async (t) => {
  const endless = createServer((_request, response) => {
    response.writeHead(200);
    const block = Buffer.alloc(1024 * 1024);
    const more = () => {
      while (!response.destroyed && response.write(block));
      if (!response.destroyed) response.once('drain', more);
    };
    more();
  });
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: await serve(t, endless),
    yaml,
  });
  t.teardown(() => gateway.close());
  const stalled = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  stalled.on('error', () => undefined);
  stalled.write('GET /endless HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(stalled, 'readable');
  stalled.pause();
  const status = () =>
    fetch(`${gateway.trafficUrl}/other`).then(async (response) => {
      await response.body?.cancel();
      return response.status;
    });
  t.equal(await status(), 503, 'the one place is taken');
  let freed = false;
  for (let tries = 0; tries < 100 && !freed; tries += 1) {
    await pause(50);
    freed = (await status()) === 200;
  }
  t.ok(freed);
  stalled.destroy();
  t.match(
    (await gateway.audit()).find(({ path }) => path === '/endless'),
    { code: 'client_closed', decision: 'error' },
  );
});

t.test('a guess whose maker does not wait for the answer is on record all the same', async (t) => {
  const gateway = await startTestGateway({ directory: t.testdir() });
  t.teardown(() => gateway.close());
  const body = 'username=admin&password=a+guess';
  const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  client.on('error', () => undefined);
  client.write(
    `POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  await pause(5);
  client.resetAndDestroy();
  let record: Record<string, unknown> | undefined;
  for (let tries = 0; tries < 100 && record === undefined; tries += 1) {
    record = (await gateway.audit()).find(
      ({ path, stage }) => path === '/auth/login' && stage === 'complete',
    );
  }
  t.match(record, { code: 'invalid_credential', reason: 'wrong_password', status_code: 401 });
});

t.test('Ctrl-C in a terminal reaches the whole group, and a request in flight still finishes', async (t) => {
  const directory = t.testdir();
  // `setsid` gives the program a process group of its own, as a shell would.
  const program = startProgram(['quickstart'], programEnv(directory), { group: true });
  t.teardown(() => program.stop('SIGKILL'));
  const [, traffic = ''] = await program.said(/traffic +(\S+)/);
  const [, key = ''] = await program.said(/API key +(\S+)/);
  const body = '{"name":"a","inputSchema":{"type":"object"}}';
  const client = connect(Number(new URL(traffic).port), '127.0.0.1');
  let answer = '';
  client.on('data', (data) => {
    answer += data;
  });
  client.write(
    `POST /tools HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 10)}`,
  );
  await pause(200);
  process.kill(-(program.child.pid ?? 0), 'SIGINT');
  process.kill(program.child.pid ?? 0, 'SIGINT');
  await pause(300);
  client.write(body.slice(10));
  await once(client, 'close');
  t.match(answer, /^HTTP\/1\.1 201 /, 'the registry was still there');
  const { exitCode, stderr } = await program.stop('SIGCONT');
  t.equal(exitCode, 0, stderr);
  t.notMatch(stderr, /ended by itself/);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
