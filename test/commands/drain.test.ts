/** The program ends under load: what was taken is answered, and who comes later is told in time. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Program, programEnv, startProgram } from '../support/program.ts';

const service = createServer((incoming, response) => {
  const delayMs = Number(new URL(incoming.url ?? '/', 'http://a').searchParams.get('ms') ?? 0);
  setTimeout(() => response.end('whole'), delayMs);
}).listen(0, '127.0.0.1');
await once(service, 'listening');
t.teardown(() => {
  service.closeAllConnections();
  service.close();
});
const serviceUrl = `http://127.0.0.1:${(service.address() as AddressInfo).port}`;

const yamlFor = (drain: string) => `version: 1
listen: { port: "\${PORT}", drain: ${drain} }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits: { classes: { public: { rate: 1000000/minute }, read: { rate: 1/minute }, write: { rate: 1/minute }, admin: { rate: 1/minute } } }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { service: { url: "${serviceUrl}" } }
routes: [{ path: /service, upstream: service, permission: none, class: public }]
log: { level: info }
`;

interface Started {
  readonly program: Program;
  readonly port: number;
  readonly auditPath: string;
  isReady(): Promise<boolean>;
}

async function start(t: Test, drain: string): Promise<Started> {
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yamlFor(drain));
  const program = startProgram(['start', '--config', config], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  let line: RegExpExecArray | null = null;
  for (let tries = 0; line === null; tries += 1) {
    if (tries > 600) throw new Error(program.stderr());
    await sleep(50);
    line = /"traffic":"([^"]+)","operations":"([^"]+)"/.exec(program.stderr());
  }
  return {
    program,
    port: Number(new URL(line[1] ?? '').port),
    auditPath: join(directory, 'audit.log'),
    isReady: async () => {
      const answer = await fetch(`${line[2]}/readyz`).catch(() => undefined);
      return answer?.status === 200;
    },
  };
}

/** The exit code of one that has had its signal: another would end it at once. */
async function endOf({ child }: Program): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  return child.exitCode;
}

type Outcome = 'answered' | 'refused' | 'lost';

/** One request. `refused` is a connection that never came about, so that nothing was sent. */
function send(port: number, agent: Agent, path = '/service', method = 'GET'): Promise<Outcome> {
  return new Promise((resolve) => {
    const sent = request({ host: '127.0.0.1', port, path, method, agent }, (response) => {
      let body = '';
      response.on('data', (data) => {
        body += data;
      });
      response.on('error', () => resolve('lost'));
      response.on('end', () => resolve(body === 'whole' && response.complete ? 'answered' : 'lost'));
    });
    sent.on('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ECONNREFUSED' ? 'refused' : 'lost'),
    );
    sent.end(method === 'POST' ? 'x' : undefined);
  });
}

/** Callers of ten requests a second each, on a connection of their own, as long as `goesOn` says. */
async function load(port: number, callers: number, goesOn: () => boolean): Promise<Record<Outcome, number>> {
  const counts = { answered: 0, refused: 0, lost: 0 };
  const call = async (index: number) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const startMs = performance.now() + index * 5;
    for (let sent = 0; ; sent += 1) {
      await sleep(Math.max(0, startMs + sent * 100 - performance.now()));
      if (!goesOn()) break;
      const outcome = await send(port, agent, '/service?ms=20', index % 4 === 0 ? 'POST' : 'GET');
      counts[outcome] += 1;
      if (outcome === 'refused') break;
    }
    agent.destroy();
  };
  await Promise.all(Array.from({ length: callers }, (_, index) => call(index)));
  return counts;
}

t.test('under 200 requests a second none is lost where readiness is heeded', async (t) => {
  const { program, port, auditPath, isReady } = await start(t, '{ delay: 1500ms }');
  let goesOn = true;
  // As a load balancer: it asks, and sends nothing more to who is not ready.
  const balancer = (async () => {
    while (await isReady()) await sleep(100);
    goesOn = false;
  })();
  const startMs = performance.now();
  const counting = load(port, 20, () => goesOn);
  await sleep(1_500);
  program.child.kill('SIGTERM');
  const counts = await counting;
  t.comment(`${((counts.answered * 1_000) / (performance.now() - startMs)).toFixed(0)} requests a second`);
  await balancer;
  t.equal(await endOf(program), 0);
  t.equal(counts.lost, 0, JSON.stringify(counts));
  t.equal(counts.refused, 0, 'nobody came too late');
  t.ok(counts.answered > 100, JSON.stringify(counts));
  const records = readFileSync(auditPath, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"complete"'));
  t.equal(records.length, counts.answered, 'each is on record');
});

t.test('without any delay, what is sent on an open connection is answered', async (t) => {
  const { program, port } = await start(t, '{}');
  const counting = load(port, 20, () => true);
  await sleep(1_500);
  program.child.kill('SIGTERM');
  const counts = await counting;
  t.equal(await endOf(program), 0);
  t.equal(counts.lost, 0, JSON.stringify(counts));
  t.equal(counts.refused, 20, 'each heard in the end that nobody listens');
});

t.test(
  'an unused connection may send its request after SIGTERM, and is told that it is the last',
  async (t) => {
    const { program, port } = await start(t, '{}');
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    const ask = () => socket.write('GET /service HTTP/1.1\r\nHost: a\r\n\r\n');
    ask();
    for (let tries = 0; !text.endsWith('whole') && tries < 100; tries += 1) await sleep(20);
    t.match(text, /\r\nConnection: keep-alive\r\n/);
    text = '';
    program.child.kill('SIGTERM');
    await sleep(300);
    ask();
    await once(socket, 'close');
    t.match(text, /^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n[\s\S]*whole$/);
    t.equal(await endOf(program), 0);
  },
);

t.test('a connection that stays unused is closed, and does not keep the program', async (t) => {
  const { program, port } = await start(t, '{ grace: 60s }');
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const agent = new Agent({ keepAlive: true });
  t.equal(await send(port, agent), 'answered');
  program.child.kill('SIGTERM');
  await once(socket.resume(), 'close');
  t.equal(await endOf(program), 0, 'long before the grace time is over');
  agent.destroy();
});

t.test('what takes longer than the grace time is cut off, and on record', async (t) => {
  const { program, port, auditPath } = await start(t, '{ grace: 500ms }');
  const sent = send(port, new Agent(), '/service?ms=60000');
  await sleep(300);
  program.child.kill('SIGTERM');
  t.equal(await sent, 'lost');
  t.equal(await endOf(program), 0);
  t.match(readFileSync(auditPath, 'utf8'), /"path":"\/service"[^\n]*"code":"client_closed"/);
});

t.test('a second signal ends it at once', async (t) => {
  const { program, port } = await start(t, '{ delay: 60s }');
  void send(port, new Agent(), '/service?ms=60000');
  await sleep(200);
  program.child.kill('SIGTERM');
  await sleep(700);
  t.equal(program.child.exitCode, null, 'it waits');
  t.equal((await program.stop('SIGTERM')).exitCode, 1);
});
