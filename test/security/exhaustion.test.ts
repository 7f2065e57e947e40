/** Attacks 35 and 36, and every bound that an operator sets: what is over it is refused or cut off, in time. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type Edge, startEdge } from './edge.ts';

/** Answers each head at once, whatever body follows. */
const early = (socket: Socket, chunk: string) => {
  if (chunk.includes('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
};
const never = () => undefined;

interface Client {
  readonly socket: Socket;
  text(): string;
  isClosed(): boolean;
  /** Waits for the end of the connection, `ms` at most; whether it has come. */
  ended(ms: number): Promise<boolean>;
}

function open(t: Test, { gateway }: Edge, first = '', localAddress = '127.0.0.1'): Client {
  const socket = connect({ port: Number(new URL(gateway.trafficUrl).port), host: '127.0.0.1', localAddress });
  let text = '';
  let closed = false;
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    text += data.toString('latin1');
  });
  socket.on('close', () => {
    closed = true;
  });
  t.teardown(() => socket.destroy());
  if (first !== '') socket.write(Buffer.from(first, 'latin1'));
  return {
    socket,
    text: () => text,
    isClosed: () => closed,
    ended: async (ms) => {
      for (let waited = 0; waited < ms && !closed; waited += 20) await pause(20);
      return closed;
    },
  };
}

/** Sends `piece` every `everyMs` until the connection is closed. */
function drip({ socket }: Client, piece: string, everyMs: number): void {
  const timer = setInterval(() => socket.write(piece), everyMs);
  socket.on('close', () => clearInterval(timer));
}

async function metric({ gateway }: Edge, name: string): Promise<number> {
  const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.split(' ')[1],
  );
}

const plain = 'GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n';
const postHead = (length: number) => `POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`;
/** Far more than any of the times set here, and far less than their defaults. */
const soonMs = 6_000;

t.test('attack 35: slow-header clients are told 408 after listen.timeouts.headers', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { headers: 500ms }' });
  const clients = Array.from({ length: 20 }, () => open(t, edge, 'GET /open/x HTTP/1.1\r\nHost: a\r\nX-A: '));
  for (const client of clients) drip(client, 'a', 100);
  for (const client of clients) {
    t.ok(await client.ended(soonMs));
    t.match(client.text(), /^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/);
  }
  t.equal(edge.recorder.bytes(), '');
  await edge.passes(t, edge.head('GET /tools HTTP/1.1', 'Connection: close'));
});

t.test(
  'attack 35: a body at 1 byte a second is cut off after listen.timeouts.stall, up to the upstream',
  async (t) => {
    const edge = await startEdge(t, { listen: 'timeouts: { stall: 1s }', respond: never });
    const client = open(t, edge, postHead(100_000));
    drip(client, 'a', 1_000);
    t.ok(await client.ended(soonMs));
    t.match(client.text(), /^HTTP\/1\.1 408 [\s\S]*"code":"request_timeout"/);
    for (let tries = 0; tries < 100 && edge.recorder.closedConnections() < 1; tries += 1) await pause(20);
    t.equal(edge.recorder.closedConnections(), 1);
    t.match((await edge.gateway.audit()).at(-1), {
      status_code: 408,
      code: 'request_timeout',
      decision: 'deny',
    });
  },
);

t.test('control 35: a slow body that keeps to listen.limits.min_rate passes', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { stall: 1s }, limits: { min_rate: 1KiB }' });
  const client = open(t, edge, postHead(15_000));
  for (let sent = 0; sent < 15_000; sent += 1_000) {
    client.socket.write('a'.repeat(1_000));
    await pause(200);
  }
  for (let tries = 0; tries < 100 && client.text() === ''; tries += 1) await pause(20);
  t.match(client.text(), /^HTTP\/1\.1 200 /);
});

t.test('min_rate: 0B lets a body take its time as long as it moves', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { stall: 1s }, limits: { min_rate: 0B }' });
  const client = open(t, edge, postHead(15));
  for (let sent = 0; sent < 15; sent += 1) {
    client.socket.write('a');
    await pause(200);
  }
  for (let tries = 0; tries < 100 && client.text() === ''; tries += 1) await pause(20);
  t.match(client.text(), /^HTTP\/1\.1 200 /);
});

t.test('a slow upstream is not held against its client', async (t) => {
  const edge = await startEdge(t, {
    listen: 'timeouts: { stall: 300ms }',
    respond: (socket, chunk) => {
      if (chunk.includes('\r\n\r\n')) setTimeout(() => early(socket, chunk), 1_500);
    },
  });
  const client = open(t, edge, `${postHead(5)}hello`);
  await once(client.socket, 'data');
  t.match(client.text(), /^HTTP\/1\.1 200 /);
});

t.test('a request that takes longer than listen.timeouts.request is told 408, however fast', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { headers: 500ms, request: 1s }', respond: never });
  const client = open(t, edge, postHead(1_000_000));
  drip(client, 'a'.repeat(1_000), 50);
  t.ok(await client.ended(soonMs));
  t.match(client.text(), /^HTTP\/1\.1 408 /);
});

t.test('a connection without a request is closed after listen.timeouts.idle', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { idle: 300ms }' });
  const client = open(t, edge, plain);
  t.ok(await client.ended(soonMs));
  t.match(client.text(), /^HTTP\/1\.1 200 /);
});

/** A response of 64 MiB, as fast as it is taken. */
const large = (socket: Socket, chunk: string) => {
  if (!chunk.includes('\r\n\r\n')) return;
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 * 1024 ** 2}\r\n\r\n`);
  const block = Buffer.alloc(1024 ** 2);
  let left = 64;
  const more = () => {
    while (left > 0 && !socket.destroyed) {
      left -= 1;
      if (!socket.write(block)) return socket.once('drain', more);
    }
    return undefined;
  };
  more();
};

t.test('attack 35: a large response nobody reads is cut off after listen.timeouts.stall', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { stall: 500ms }', respond: large });
  const client = open(t, edge, plain);
  await once(client.socket, 'data');
  client.socket.pause();
  for (let tries = 0; tries < 300 && edge.recorder.closedConnections() < 1; tries += 1) await pause(20);
  t.equal(edge.recorder.closedConnections(), 1, 'its upstream socket is free');
  client.socket.destroy();
  t.match((await edge.gateway.audit()).at(-1), { code: 'client_closed' });
});

t.test('attack 35: so is one whose reader takes some of it now and then', async (t) => {
  const edge = await startEdge(t, {
    listen: 'timeouts: { stall: 1s }, limits: { min_rate: 1MiB }',
    respond: large,
  });
  const client = open(t, edge, plain);
  await once(client.socket, 'data');
  client.socket.pause();
  const sip = setInterval(() => client.socket.read(16 * 1024), 100);
  t.teardown(() => clearInterval(sip));
  for (let tries = 0; tries < 500 && edge.recorder.closedConnections() < 1; tries += 1) await pause(20);
  t.equal(edge.recorder.closedConnections(), 1);
});

t.test('control 35: a reader that is slow and steady gets all of it', async (t) => {
  const edge = await startEdge(t, { listen: 'timeouts: { stall: 1s }', respond: large });
  const client = connect(Number(new URL(edge.gateway.trafficUrl).port), '127.0.0.1');
  t.teardown(() => client.destroy());
  let bytes = 0;
  client.on('data', (data) => {
    bytes += data.length;
    client.pause();
    setTimeout(() => client.resume(), 1);
  });
  client.write(plain);
  for (let tries = 0; tries < 1_000 && bytes < 64 * 1024 ** 2; tries += 1) await pause(50);
  t.ok(bytes > 64 * 1024 ** 2);
});

const turnedAway = /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n[\s\S]*"code":"overloaded"/;

t.test(
  'connections over listen.limits.connections are told 503 when they ask, until one leaves',
  async (t) => {
    const edge = await startEdge(t, { listen: 'limits: { connections: 5 }' });
    // Those that the key was made over may still be there.
    const held = await metric(edge, 'portcullis_connections');
    const [first] = Array.from({ length: 5 - held }, () => open(t, edge, plain));
    await pause(300);
    const over = open(t, edge, plain);
    t.ok(await over.ended(soonMs));
    t.match(over.text(), turnedAway);
    t.equal(await metric(edge, 'portcullis_connections'), 5);
    t.ok((await metric(edge, 'portcullis_connections_refused_total{bound="all"}')) >= 1);
    t.match((await edge.gateway.audit()).at(-1), { status_code: 503, code: 'overloaded' });
    first?.socket.destroy();
    await pause(100);
    const next = open(t, edge, plain);
    await once(next.socket, 'data');
    t.match(next.text(), /^HTTP\/1\.1 200 /);
  },
);

t.test(
  'connections over listen.limits.connections_per_address are told 503; other addresses pass',
  async (t) => {
    const edge = await startEdge(t, { listen: 'limits: { connections_per_address: 3 }' });
    const others = Array.from({ length: 3 }, () => open(t, edge, plain, '127.0.0.2'));
    await pause(300);
    const over = open(t, edge, plain, '127.0.0.2');
    t.ok(await over.ended(soonMs));
    t.match(over.text(), turnedAway);
    t.equal(await metric(edge, 'portcullis_connections_refused_total{bound="address"}'), 1);
    const elsewhere = open(t, edge, plain, '127.0.0.3');
    await once(elsewhere.socket, 'data');
    t.match(elsewhere.text(), /^HTTP\/1\.1 200 /);
    t.notOk(others.some((client) => client.isClosed()));
  },
);

t.test('a trusted proxy may hold more connections than one address', async (t) => {
  const edge = await startEdge(t, {
    listen: 'trusted_proxies: [127.0.0.1], limits: { connections_per_address: 1 }',
  });
  const clients = Array.from({ length: 5 }, () => open(t, edge, plain));
  for (const client of clients) {
    for (let tries = 0; tries < 100 && client.text() === ''; tries += 1) await pause(20);
    t.match(client.text(), /^HTTP\/1\.1 200 /);
  }
});

t.test('a flood over the bound is not waited for: it says nothing and is closed', async (t) => {
  const edge = await startEdge(t, { listen: 'limits: { connections: 1 }' });
  const flood = Array.from({ length: 200 }, () => open(t, edge));
  await pause(500);
  t.ok(flood.filter((client) => client.isClosed()).length >= 130, 'all but those that may still ask');
  for (const client of flood) t.ok(await client.ended(soonMs));
});

t.test('more requests behind one another than listen.limits.pipelined cost the connection', async (t) => {
  const edge = await startEdge(t, { listen: 'limits: { pipelined: 4 }', respond: never });
  const client = open(t, edge, plain.repeat(5));
  t.ok(await client.ended(soonMs));
  t.equal(client.text(), '');
  const records = (await edge.gateway.audit()).filter(({ code }) => code === 'overloaded');
  t.equal(records.length, 1);
  const within = await startEdge(t, { listen: 'limits: { pipelined: 4 }' });
  const answered = open(t, within, plain.repeat(4));
  for (let tries = 0; tries < 100 && (answered.text().match(/200 OK/g)?.length ?? 0) < 4; tries += 1)
    await pause(20);
  t.equal(answered.text().match(/200 OK/g)?.length, 4);
});

t.test('the bounds of a head are those of listen.limits', async (t) => {
  const edge = await startEdge(t, {
    listen: 'limits: { header_bytes: 2KiB, headers: 10, target_bytes: 128B }',
  });
  const { head } = edge;
  await edge.refuses(t, 431, head('GET /tools HTTP/1.1', `X-A: ${'a'.repeat(2_048)}`));
  await edge.refuses(t, 431, head('GET /tools HTTP/1.1', ...Array.from({ length: 9 }, () => 'X-A: 1')));
  await edge.refuses(t, 414, head(`GET /tools/${'a'.repeat(128)} HTTP/1.1`));
  const many = Array.from({ length: 7 }, () => 'X-A: 1');
  await edge.passes(t, head(`GET /tools/${'a'.repeat(121)} HTTP/1.1`, ...many, 'Connection: close'));
  await edge.passes(t, head('GET /tools HTTP/1.1', `X-A: ${'a'.repeat(1_500)}`, 'Connection: close'));
});

const large64KiB = 'a'.repeat(64 * 1024);

for (const [name, status, head, body] of [
  [
    'an endless chunked body',
    413,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    `10000\r\n${large64KiB}\r\n`.repeat(40),
  ],
  [
    'an endless chunked body that is inspected',
    413,
    'POST /json/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    `10000\r\n${large64KiB}\r\n`.repeat(40),
  ],
  ['a length over the bound, before it is read', 413, postHead(2 * 1024 ** 2), ''],
  [
    'a gzip bomb',
    415,
    'POST /json/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n',
    '\x1f\x8b\x08\x00',
  ],
  [
    'JSON 100,000 deep',
    400,
    'POST /json/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n',
    '['.repeat(100_000) + ']'.repeat(100_000),
  ],
  [
    'JSON of one number of 200 KB',
    200,
    'POST /json/x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n',
    '1'.repeat(200_000),
  ],
  [
    'regular-expression bait in a target',
    400,
    `GET /open/${'%2f/..;'.repeat(1_000)} HTTP/1.1\r\nHost: a\r\n\r\n`,
    '',
  ],
  [
    'regular-expression bait in a Host',
    400,
    `GET /open/x HTTP/1.1\r\nHost: ${'a.'.repeat(5_000)}!\r\n\r\n`,
    '',
  ],
  [
    'regular-expression bait in a credential',
    401,
    `GET /tools HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer${' '.repeat(7_000)}${'a '.repeat(3_000)}\r\n\r\n`,
    '',
  ],
  [
    'regular-expression bait in Connection',
    200,
    `GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: ${' ,'.repeat(6_000)}a\r\n\r\n`,
    '',
  ],
] as const)
  t.test(`attack 36: ${name}: ${status}, without much work`, async (t) => {
    const edge = await startEdge(t, { respond: name.startsWith('an endless') ? never : undefined });
    const before = process.cpuUsage();
    const client = open(t, edge, head + body);
    for (let tries = 0; tries < 250 && !/^HTTP\/1\.1 \d{3} [\s\S]*\r\n\r\n/.test(client.text()); tries += 1)
      await pause(20);
    const { user, system } = process.cpuUsage(before);
    t.match(client.text(), new RegExp(`^HTTP/1\\.1 ${status} `));
    t.ok((user + system) / 1_000 < 1_500, `${Math.round((user + system) / 1_000)} ms of work`);
  });

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
