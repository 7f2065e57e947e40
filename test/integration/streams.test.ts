/** Streams: what is said is passed on at once, silence has its own bound, and whoever leaves takes the other side along. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, get, type RequestListener, request as send } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams:
  app:
    url: "\${REGISTRY_URL}"
    timeouts: { connect: 500ms, response: 300ms, idle: 300ms }
routes:
  - { path: /open/*, upstream: app, permission: none, class: public, max_body: 1GiB }
  - { path: /stream/*, upstream: app, permission: none, class: public, max_body: 1GiB, stream_idle: 3s }
`;

async function behind(t: Test, registryUrl: string) {
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl, yaml });
  t.teardown(() => gateway.close());
  return gateway;
}

async function serving(t: Test, listener: RequestListener) {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return behind(t, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

async function recording(t: Test, respond: Parameters<typeof startByteRecorder>[0]) {
  const recorder = await startByteRecorder(respond);
  t.teardown(() => recorder.close());
  return { recorder, gateway: await behind(t, recorder.url) };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !condition(); tries += 1) await pause(10);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

t.test('server-sent events: the head and each event arrive before the next one is sent', async (t) => {
  let say: (event: string) => void = () => undefined;
  const gateway = await serving(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
    response.flushHeaders();
    say = (event) => response.write(`data: ${event}\n\n`);
  });
  const request = get(`${gateway.trafficUrl}/stream/x`, { headers: { 'Accept-Encoding': 'gzip, br' } });
  request.on('error', () => undefined);
  const [response] = await once(request, 'response');
  t.equal(response.headers['content-type'], 'text/event-stream');
  t.notOk(response.headers['content-encoding']);
  for (let event = 0; event < 20; event += 1) {
    say(String(event));
    t.equal(String((await once(response, 'data'))[0]), `data: ${event}\n\n`);
  }
  request.destroy();
});

t.test('a stream’s silence is bounded by its route, and each heartbeat begins it anew', async (t) => {
  const gateway = await serving(t, (request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.flushHeaders();
    let beats = request.url?.endsWith('beats') === true ? 5 : 0;
    const beat = setInterval(() => {
      beats -= 1;
      if (beats < 0) clearInterval(beat);
      else response.write(':\n');
    }, 1_500);
    response.on('close', () => clearInterval(beat));
  });
  const lifetimeMs = async (path: string) => {
    const request = get(gateway.trafficUrl + path);
    request.on('error', () => undefined);
    const [response] = await once(request, 'response');
    const startedMs = performance.now();
    response.resume();
    response.on('error', () => undefined);
    await new Promise((resolve) => response.on('close', resolve));
    t.notOk(response.complete, 'never a clean end');
    return performance.now() - startedMs;
  };
  const [other, silent, beating] = await Promise.all(
    ['/open/silent', '/stream/silent', '/stream/beats'].map(lifetimeMs),
  );
  t.ok((other ?? 0) < 2_500, 'the upstream’s own idle time where the route has none');
  t.ok((silent ?? 0) > 2_500);
  t.ok((beating ?? 0) > 8_500, 'five heartbeats, each within the idle time, and then silence');
});

t.test('a long poll may be silent before its answer for as long as its route says', async (t) => {
  const gateway = await serving(t, (_request, response) => {
    setTimeout(() => response.end('news'), 2_000);
  });
  t.equal((await fetch(`${gateway.trafficUrl}/open/x`)).status, 504);
  t.equal(await (await fetch(`${gateway.trafficUrl}/stream/x`)).text(), 'news');
});

t.test('small chunks of a request are passed on one by one', async (t) => {
  const heard: string[] = [];
  const gateway = await serving(t, (request, response) => {
    request.on('data', (chunk) => heard.push(String(chunk)));
    request.on('end', () => response.end());
  });
  const request = send(`${gateway.trafficUrl}/stream/x`, { method: 'POST' });
  request.flushHeaders();
  for (let index = 0; index < 10; index += 1) {
    request.write(String(index));
    await until(() => heard.length > index);
  }
  t.strictSame(heard, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  request.end();
  await once(request, 'response');
});

t.test(
  'a client that leaves cancels the upstream’s request: before the head, and while it uploads',
  async (t) => {
    const heads = {
      '/stream/waiting': 'GET /stream/waiting HTTP/1.1\r\nHost: a\r\n\r\n',
      '/open/upload': 'POST /open/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello',
    };
    for (const [path, head] of Object.entries(heads)) {
      let closed = false;
      const { recorder, gateway } = await recording(t, (socket) => {
        socket.on('close', () => {
          closed = true;
        });
      });
      const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
      client.write(head);
      await until(() => recorder.bytes().includes('\r\n\r\n'));
      const leftMs = performance.now();
      client.destroy();
      await until(() => closed);
      t.ok(closed, path);
      t.ok(performance.now() - leftMs < 2_000, 'long before any time-out');
      t.match((await gateway.audit()).at(-1), { path, code: 'client_closed' });
    }
  },
);

t.test(
  'an upstream that answers in the middle of an upload is heard, and its socket is not used again',
  async (t) => {
    const { recorder, gateway } = await recording(t, (socket, chunk) => {
      if (chunk.startsWith('POST'))
        socket.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno');
      else if (chunk.startsWith('GET')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const early = await sendRaw(
      gateway.trafficUrl,
      'POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello',
    );
    t.equal(early.status, 413);
    t.equal(early.body, 'no');
    t.strictSame(early.headers.get('connection'), ['close']);
    t.ok(early.closed);
    t.equal((await fetch(`${gateway.trafficUrl}/open/y`)).status, 200);
    t.equal(recorder.connections(), 2);
  },
);

t.test(
  'HEAD, 204 and 304 have no body, and the next answer on the connection is the right one',
  async (t) => {
    const answers: Record<string, string> = {
      '/open/head': 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
      '/open/204': 'HTTP/1.1 204 No Content\r\n\r\n',
      '/open/304': 'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n',
      '/open/last': 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast',
    };
    const { gateway } = await recording(t, (socket, chunk) => {
      socket.write(answers[chunk.split(' ')[1] ?? ''] ?? '');
    });
    const last = 'GET /open/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    for (const [method, path] of [
      ['HEAD', '/open/head'],
      ['GET', '/open/204'],
      ['GET', '/open/304'],
    ] as const) {
      const { text } = await sendRaw(
        gateway.trafficUrl,
        `${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`,
        last,
      );
      const [first = '', second = '', third = ''] = text.split('\r\n\r\n');
      t.match(first, path === '/open/head' ? /\r\nContent-Length: 5\r\n/ : /ETag|204/, path);
      t.notMatch(first, /transfer-encoding/i);
      t.match(second, /^HTTP\/1\.1 200 OK\r\n/, path);
      t.equal(third, 'last');
    }
  },
);

t.test('1xx stays between the upstream and the gateway, and trailers are dropped both ways', async (t) => {
  const { recorder, gateway } = await recording(t, (socket, chunk) => {
    if (!chunk.endsWith('\r\n\r\n')) return;
    socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Auth-Subject: x\r\n\r\n');
    socket.write(
      'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Frame-Options: ALLOWALL\r\n\r\n',
    );
  });
  const answer = await sendRaw(
    gateway.trafficUrl,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nTrailer: X-Auth-Subject\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n' +
      '2\r\nhi\r\n0\r\nX-Auth-Subject: user:admin\r\n\r\n',
  );
  t.ok(answer.text.startsWith('HTTP/1.1 200 OK\r\n'));
  t.notMatch(answer.text, /X-Sum|ALLOWALL|Early Hints|Trailer/i);
  t.ok(answer.text.endsWith('2\r\nok\r\n0\r\n\r\n'));
  t.notMatch(recorder.bytes(), /user:admin|trailer/i);
  t.ok(recorder.bytes().endsWith('2\r\nhi\r\n0\r\n\r\n'));
});

t.test('an upstream that takes nothing of an upload holds the client back', async (t) => {
  const { recorder, gateway } = await recording(t, (socket) => {
    socket.pause();
  });
  const bytes = 128 * 1024 * 1024;
  const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  client.on('error', () => undefined);
  client.write(`POST /stream/x HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`);
  await until(() => recorder.bytes().includes('\r\n\r\n'));
  client.write(Buffer.alloc(bytes));
  await pause(1_000);
  // What the kernels' buffers of two connections hold, and little more.
  const taken = client.bytesWritten - client.writableLength;
  t.ok(client.writableLength > bytes / 2, `${taken} bytes were taken`);
  client.destroy();
});

for (const framing of ['its length', 'chunks'])
  t.test(
    `a large upload under ${framing} arrives as it was sent at an upstream that stops and goes`,
    async (t) => {
      const received = createHash('sha256');
      const gateway = await serving(t, (request, response) => {
        let bytes = 0;
        request.on('data', (chunk: Buffer) => {
          received.update(chunk);
          bytes += chunk.length;
          // Long enough that both kernels' buffers are full now and then.
          if (bytes % 3 === 0) {
            request.pause();
            setTimeout(() => request.resume(), 2);
          }
        });
        request.on('end', () => response.end(String(bytes)));
      });
      const body = randomBytes(24 * 1024 * 1024);
      const request = send(`${gateway.trafficUrl}/open/x`, {
        method: 'POST',
        headers: framing === 'chunks' ? {} : { 'Content-Length': body.length },
      });
      for (let at = 0; at < body.length; at += 100_003)
        if (!request.write(body.subarray(at, at + 100_003))) await once(request, 'drain');
      request.end();
      const [response] = await once(request, 'response');
      t.equal(response.statusCode, 200);
      t.equal(received.digest('hex'), createHash('sha256').update(body).digest('hex'));
      response.resume();
    },
  );
