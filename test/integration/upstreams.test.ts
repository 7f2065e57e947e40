/** Several addresses behind one name, over real servers that refuse, are silent, die, flap and come back. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';

const yaml = (upstream: string) => `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 1000000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams:
  app: ${upstream}
routes:
  - { path: /*, upstream: app, permission: none, class: public }
endpoints: { identity: true, docs: false, health: false }
`;

const quick = 'timeouts: { connect: 2s, response: 1s, idle: 1s }';

async function before(t: Test, upstream: string): Promise<TestGateway> {
  const gateway = await startTestGateway({ directory: t.testdir(), yaml: yaml(upstream) });
  t.teardown(() => gateway.close());
  return gateway;
}

/** An application that answers with its name, on a port of its own. */
class App {
  readonly name: string;
  requests = 0;
  #server: Server | undefined;
  #port = 0;

  constructor(name: string) {
    this.name = name;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(t: Test): Promise<this> {
    const server = createServer((request, response) => {
      if (request.url !== '/healthz') this.requests += 1;
      request.resume().on('end', () => response.end(this.name));
    });
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    t.teardown(() => this.stop());
    return this;
  }

  /** As `kill -9` would: nobody listens, and every connection ends. */
  stop(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = undefined;
  }
}

const started = (t: Test, ...names: string[]) => Promise.all(names.map((name) => new App(name).start(t)));
const listOf = (apps: readonly App[]) => `urls: [${apps.map(({ url }) => `"${url}"`).join(', ')}]`;

async function answerOf(gateway: TestGateway, init: RequestInit = {}) {
  const response = await fetch(`${gateway.trafficUrl}/x`, init);
  return {
    status: response.status,
    text: await response.text(),
    retryAfter: response.headers.get('retry-after'),
  };
}

async function metric(gateway: TestGateway, name: string): Promise<string | undefined> {
  const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  return new RegExp(`^portcullis_${name}\\{upstream="app"\\} (\\S+)$`, 'm').exec(text)?.[1];
}

/** Asks up to 10 s for something to become so. */
async function becomes(isSo: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await isSo()) return true;
    await pause(50);
  }
  return false;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

t.test('equals take turns', async (t) => {
  const apps = await started(t, 'a', 'b', 'c');
  const gateway = await before(t, `{ ${listOf(apps)} }`);
  for (let time = 0; time < 9; time += 1) await answerOf(gateway);
  t.strictSame(
    apps.map(({ requests }) => requests),
    [3, 3, 3],
  );
});

t.test('the least busy address is next', async (t) => {
  const held: Socket[] = [];
  const slow = createTcpServer((socket) => held.push(socket.on('error', () => undefined)));
  slow.listen(0, '127.0.0.1');
  await once(slow, 'listening');
  t.teardown(() => {
    for (const socket of held) socket.destroy();
    slow.close();
  });
  const [app] = await started(t, 'fast');
  const slowUrl = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`;
  const gateway = await before(t, `{ urls: ["${slowUrl}", "${app?.url}"] }`);
  const controller = new AbortController();
  const waiting: Promise<unknown>[] = [];
  while (held.length === 0 && waiting.length < 4) {
    waiting.push(fetch(`${gateway.trafficUrl}/x`, { signal: controller.signal }).catch(() => undefined));
    await pause(50);
  }
  for (let time = 0; time < 6; time += 1) t.equal((await answerOf(gateway)).text, 'fast');
  controller.abort();
  await Promise.all(waiting);
  t.equal(held.length, 1);
});

t.test('one of three is dead under load: not one request fails, a POST included', async (t) => {
  const apps = await started(t, 'a', 'b', 'c');
  const gateway = await before(t, `{ ${listOf(apps)}, ejection: { failures: 3, time: 100ms } }`);
  apps[1]?.stop();
  const statuses: number[] = [];
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let time = 0; time < 25; time += 1)
        statuses.push((await answerOf(gateway, time % 2 === 0 ? {} : { method: 'POST', body: 'x' })).status);
    }),
  );
  t.equal(statuses.length, 400);
  t.strictSame(
    statuses.filter((status) => status !== 200),
    [],
  );
  t.equal((apps[0]?.requests ?? 0) + (apps[2]?.requests ?? 0), 400, 'and none was sent twice');
  t.equal(await metric(gateway, 'upstream_ejected'), '1');
  t.equal(await metric(gateway, 'upstream_up'), '1');
});

t.test('an address that dies under load costs no GET its answer, and no body arrives twice', async (t) => {
  const arrived: string[] = [];
  const server = () =>
    createServer(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      if (body !== '') arrived.push(body);
      setTimeout(() => response.end('ok'), 5);
    });
  const servers = [server(), server(), server()];
  const urls: string[] = [];
  for (const one of servers) {
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    urls.push(`"http://127.0.0.1:${(one.address() as AddressInfo).port}"`);
  }
  const end = (one: Server | undefined) => {
    one?.close();
    one?.closeAllConnections();
  };
  t.teardown(() => servers.forEach(end));
  const gateway = await before(t, `{ urls: [${urls.join(', ')}] }`);
  const gets: number[] = [];
  const posts: number[] = [];
  await Promise.all(
    Array.from({ length: 12 }, async (_, worker) => {
      for (let time = 0; time < 30; time += 1) {
        if (gets.length === 60) end(servers[0]);
        if (time % 2 === 0) gets.push((await answerOf(gateway)).status);
        else posts.push((await answerOf(gateway, { method: 'POST', body: `${worker}-${time}` })).status);
      }
    }),
  );
  t.strictSame(new Set(gets), new Set([200]));
  const [answered, failed] = [200, 502].map((status) => posts.filter((one) => one === status).length);
  t.equal((answered ?? 0) + (failed ?? 0), 180, 'a POST on its way to it may be lost, and is then 502');
  t.ok((failed ?? 0) <= 12, `${failed} of 180 were under way`);
  t.equal(new Set(arrived).size, arrived.length, 'none was sent twice');
});

t.test('an address that comes back is used again', async (t) => {
  const apps = await started(t, 'a', 'b');
  const gateway = await before(t, `{ ${listOf(apps)}, ejection: { failures: 1, time: 100ms } }`);
  apps[0]?.stop();
  for (let time = 0; time < 4; time += 1) t.equal((await answerOf(gateway)).text, 'b');
  await apps[0]?.start(t);
  t.ok(await becomes(async () => (await answerOf(gateway)).text === 'a'));
  t.equal(await metric(gateway, 'upstream_ejected'), '0');
});

t.test('an address that flaps costs no GET its answer', async (t) => {
  const apps = await started(t, 'a', 'b');
  const gateway = await before(t, `{ ${listOf(apps)}, ejection: { failures: 2, time: 50ms } }`);
  const flapping = apps[0];
  let going = true;
  const flap = (async () => {
    for (let time = 0; time < 8; time += 1) {
      flapping?.stop();
      await pause(60);
      await flapping?.start(t);
      await pause(60);
    }
    going = false;
  })();
  const statuses = new Map<number, number>();
  while (going) {
    const { status } = await answerOf(gateway);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  await flap;
  t.strictSame([...statuses.keys()], [200]);
});

t.test('a silent address is 504, never asked for again elsewhere, and then left out', async (t) => {
  const silent = await startByteRecorder(() => undefined);
  t.teardown(() => silent.close());
  const [app] = await started(t, 'b');
  const gateway = await before(
    t,
    `{ urls: ["${silent.url}", "${app?.url}"], ${quick}, ejection: { failures: 1, time: 1m } }`,
  );
  const statuses: number[] = [];
  for (let time = 0; time < 6; time += 1) statuses.push((await answerOf(gateway)).status);
  t.strictSame(statuses.sort(), [200, 200, 200, 200, 200, 504]);
  t.equal(silent.bytes().match(/GET/g)?.length, 1);
});

t.test(
  'attack 38: a connection that ends before an answer: a GET is asked once more, a POST never',
  async (t) => {
    const dying = await startByteRecorder((socket) => socket.destroy());
    t.teardown(() => dying.close());
    const gateway = await before(t, `{ url: "${dying.url}" }`);
    t.match(await answerOf(gateway), { status: 502, text: /"upstream_unreachable"/ });
    t.equal(dying.bytes().match(/GET \/x/g)?.length, 2);
    dying.reset();
    t.equal((await answerOf(gateway, { method: 'POST', body: 'x' })).status, 502);
    t.equal((await answerOf(gateway, { method: 'DELETE' })).status, 502);
    t.equal((await answerOf(gateway, { method: 'POST' })).status, 502);
    t.equal(dying.bytes().match(/(?:POST|DELETE) \/x/g)?.length, 3, 'each was sent once');
  },
);

t.test('a socket that the upstream closed while it was kept alive costs a GET nothing', async (t) => {
  let answered = 0;
  const server = createServer((request, response) => {
    answered += 1;
    // Closed at the worst moment: the next request is on its way by then.
    if (answered === 1) request.socket.once('data', () => request.socket.destroy());
    response.end('ok');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const gateway = await before(t, `{ url: "${url}", connections: 1 }`);
  t.equal((await answerOf(gateway)).status, 200);
  t.equal((await answerOf(gateway)).status, 200);
});

t.test(
  'attack 38: a reset in the middle of an answer destroys the client’s connection, and is asked for once',
  async (t) => {
    const recorder = await startByteRecorder((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc');
      setTimeout(() => socket.resetAndDestroy(), 30);
    });
    t.teardown(() => recorder.close());
    const [app] = await started(t, 'b');
    const gateway = await before(t, `{ urls: ["${recorder.url}", "${app?.url}"] }`);
    const outcomes = await Promise.all(
      [1, 2].map(() =>
        answerOf(gateway).then(
          ({ text }) => text,
          () => 'cut off',
        ),
      ),
    );
    t.strictSame(outcomes.sort(), ['b', 'cut off']);
    t.equal(recorder.connections(), 1);
  },
);

t.test(
  'the circuit breaker leaves an upstream alone, and one request finds out that it is back',
  async (t) => {
    const [app] = await started(t, 'a');
    const gateway = await before(t, `{ url: "${app?.url}", breaker: { failures: 3, time: 2s } }`);
    t.equal((await answerOf(gateway)).status, 200);
    app?.stop();
    const statuses: number[] = [];
    for (let time = 0; time < 3; time += 1) statuses.push((await answerOf(gateway)).status);
    t.strictSame(statuses, [502, 502, 502]);
    t.match(await answerOf(gateway), { status: 503, text: /"upstream_unavailable"/, retryAfter: '2' });
    t.equal(await metric(gateway, 'upstream_up'), '0');
    await app?.start(t);
    t.ok(await becomes(async () => (await answerOf(gateway)).status === 200));
    t.equal(await metric(gateway, 'upstream_up'), '1');
    const after = await Promise.all(Array.from({ length: 10 }, async () => (await answerOf(gateway)).status));
    t.strictSame(new Set(after), new Set([200]));
  },
);

t.test('a long answer to the request that finds out does not keep the others waiting', async (t) => {
  const [app] = await started(t, 'a');
  const gateway = await before(t, `{ url: "${app?.url}", breaker: { failures: 1, time: 100ms } }`);
  app?.stop();
  t.equal((await answerOf(gateway)).status, 502);
  const port = Number(new URL(app?.url ?? '').port);
  const endless = createServer((request, response) => {
    if (request.url === '/endless') response.write('begun');
    else response.end('short');
  });
  endless.listen(port, '127.0.0.1');
  await once(endless, 'listening');
  t.teardown(() => {
    endless.closeAllConnections();
    endless.close();
  });
  await pause(200);
  const controller = new AbortController();
  const begun = await fetch(`${gateway.trafficUrl}/endless`, { signal: controller.signal });
  t.equal(begun.status, 200);
  t.match(await answerOf(gateway), { status: 200, text: 'short' });
  controller.abort();
});

t.test('an upload that dawdles as the request that finds out does not keep the others waiting', async (t) => {
  const [app] = await started(t, 'a');
  const gateway = await before(t, `{ url: "${app?.url}", breaker: { failures: 1, time: 100ms } }`);
  app?.stop();
  t.equal((await answerOf(gateway)).status, 502);
  await app?.start(t);
  await pause(200);
  const slow = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  slow.on('error', () => undefined);
  t.teardown(() => slow.destroy());
  slow.write('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx');
  await pause(200);
  t.equal((await answerOf(gateway)).status, 200);
});

t.test('failures with answers between them open no circuit', async (t) => {
  let count = 0;
  const recorder = await startByteRecorder((socket) => {
    count += 1;
    if (count % 3 === 0) socket.end('HTTP/1.1 500 Oops\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
  });
  t.teardown(() => recorder.close());
  const gateway = await before(t, `{ url: "${recorder.url}", ${quick}, breaker: { failures: 3, time: 1m } }`);
  const statuses: number[] = [];
  for (let time = 0; time < 8; time += 1) statuses.push((await answerOf(gateway)).status);
  t.strictSame(statuses, [504, 504, 500, 504, 504, 500, 504, 504]);
  t.equal((await answerOf(gateway)).status, 500);
});

t.test('silence in a row does', async (t) => {
  const silent = await startByteRecorder(() => undefined);
  t.teardown(() => silent.close());
  const gateway = await before(t, `{ url: "${silent.url}", ${quick}, breaker: { failures: 2, time: 1m } }`);
  const statuses: number[] = [];
  for (let time = 0; time < 4; time += 1) statuses.push((await answerOf(gateway)).status);
  t.strictSame(statuses, [504, 504, 503, 503]);
  t.equal(silent.connections(), 2);
});

t.test('what one caller’s requests can bring about closes the way for nobody', async (t) => {
  const recorder = await startByteRecorder((socket, chunk) => {
    if (chunk.startsWith('POST')) socket.destroy();
    else socket.end('rubbish\r\n\r\n');
  });
  t.teardown(() => recorder.close());
  const gateway = await before(t, `{ url: "${recorder.url}", breaker: { failures: 2, time: 1m } }`);
  for (let time = 0; time < 4; time += 1) {
    t.equal((await answerOf(gateway, { method: 'POST', body: 'x' })).status, 502);
    t.equal((await answerOf(gateway)).status, 502);
  }
});

t.test('with every address out, requests are tried all the same', async (t) => {
  const apps = await started(t, 'a', 'b');
  const gateway = await before(
    t,
    `{ ${listOf(apps)}, ejection: { failures: 1, time: 1m }, breaker: { failures: 0 } }`,
  );
  for (const app of apps) app.stop();
  t.equal((await answerOf(gateway)).status, 502);
  t.equal(await metric(gateway, 'upstream_ejected'), '2');
  t.equal(await metric(gateway, 'upstream_up'), '0');
  await apps[1]?.start(t);
  t.match(await answerOf(gateway), { status: 200, text: 'b' });
  t.match(await answerOf(gateway), { status: 200, text: 'b' });
  t.equal(await metric(gateway, 'upstream_ejected'), '1');
});

t.test('health checks leave out what is ill before a request finds out, and take it back', async (t) => {
  const apps = await started(t, 'a', 'b');
  let isWell = true;
  const moody = createServer((request, response) => {
    response.statusCode = request.url === '/healthz' && !isWell ? 503 : 200;
    response.end('moody');
  });
  moody.listen(0, '127.0.0.1');
  await once(moody, 'listening');
  t.teardown(() => {
    moody.closeAllConnections();
    moody.close();
  });
  const moodyUrl = `http://127.0.0.1:${(moody.address() as AddressInfo).port}`;
  const gateway = await before(
    t,
    `{ urls: ["${moodyUrl}", "${apps[0]?.url}"], health: { path: /healthz, interval: 100ms, timeout: 1s, healthy: 2, unhealthy: 2 } }`,
  );
  isWell = false;
  t.ok(await becomes(async () => (await metric(gateway, 'upstream_ejected')) === '1'));
  for (let time = 0; time < 6; time += 1) t.equal((await answerOf(gateway)).text, 'a');
  isWell = true;
  t.ok(await becomes(async () => (await metric(gateway, 'upstream_ejected')) === '0'));
  t.ok(await becomes(async () => (await answerOf(gateway)).text === 'moody'));
});

t.test('a single address that is ill is still asked: there is no other', async (t) => {
  const [app] = await started(t, 'a');
  const gateway = await before(
    t,
    `{ url: "${app?.url}", health: { path: /healthz, interval: 100ms, unhealthy: 1, healthy: 1 } }`,
  );
  app?.stop();
  t.ok(await becomes(async () => (await metric(gateway, 'upstream_up')) === '0'));
  await app?.start(t);
  t.ok(await becomes(async () => (await metric(gateway, 'upstream_up')) === '1'), 'without a request');
  t.equal((await answerOf(gateway)).status, 200);
});

t.test('a name with several addresses finds the one that listens', async (t) => {
  const [app] = await started(t, 'a');
  const gateway = await before(t, `{ url: "${app?.url.replace('127.0.0.1', 'localhost')}" }`);
  t.match(await answerOf(gateway), { status: 200, text: 'a' });
});

t.test('a Unix socket is an address like any other', async (t) => {
  // The kernel takes 107 bytes of path, and a test's own folder may be deeper.
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'app.sock');
  const server = createServer((_request, response) => response.end('unix'));
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const gateway = await before(t, `{ urls: ["unix:${path}", "http://127.0.0.1:9"] }`);
  for (let time = 0; time < 4; time += 1) t.match(await answerOf(gateway), { status: 200, text: 'unix' });
});
