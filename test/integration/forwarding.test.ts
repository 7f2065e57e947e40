/** The seventh phase over raw sockets: what reaches the upstream, what comes back, and what happens when a side fails. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type ByteRecorder, startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
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
    connections: 2
    pending: 1
    timeouts: { connect: 500ms, response: 400ms, idle: 400ms }
  patient: { url: "\${REGISTRY_URL}", connections: 2, pending: 1 }
routes:
  - { path: /patient/*, upstream: patient, permission: none, class: public }
  - { path: /open/*, upstream: app, permission: none, class: public, max_body: 64KiB }
  - { path: /large/*, upstream: app, permission: none, class: public, max_body: 1GiB }
  - { path: /read/*, upstream: app, permission: read, class: read }
  - { path: /json/*, upstream: app, permission: none, class: public, inspect: json, max_body: 1KiB }
`;

async function behind(t: Test, upstreamUrl: string): Promise<TestGateway> {
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: upstreamUrl, yaml });
  t.teardown(() => gateway.close());
  return gateway;
}

async function recording(t: Test, respond?: Parameters<typeof startByteRecorder>[0]) {
  const recorder: ByteRecorder = await startByteRecorder(respond);
  const gateway = await behind(t, recorder.url);
  t.teardown(() => recorder.close());
  return { recorder, gateway };
}

async function serving(t: Test, server: Server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return behind(t, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

function headerLines(bytes: string): string[] {
  return (bytes.split('\r\n\r\n')[0] ?? '').split('\r\n');
}

t.test('the upstream gets the target as it was sent, our identity headers, and no credential', async (t) => {
  const { recorder, gateway } = await recording(t);
  const { key } = gateway.first.key;
  const answer = await sendRaw(
    gateway.trafficUrl,
    `GET /read/a%20b,v=1?q=%3Cx&q=2 HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer ${key}\r\n` +
      'Connection: X-Auth-Subject, close, X-Hop\r\nX-Hop: 1\r\nX-Auth-Subject: admin\r\nx_auth_subject: admin\r\n' +
      'X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nTE: trailers\r\nUpgrade: h2c\r\nAccept: a, b\r\n\r\n',
  );
  t.equal(answer.status, 200);
  const [requestLine, ...lines] = headerLines(recorder.bytes());
  t.equal(requestLine, 'GET /read/a%20b,v=1?q=%3Cx&q=2 HTTP/1.1');
  const names = lines.map((line) => line.split(':')[0]?.toLowerCase());
  t.equal(new Set(names).size, names.length, 'no header twice');
  t.ok(lines.includes(`X-Auth-Subject: key:${gateway.first.key.id}`));
  t.ok(lines.includes('X-Auth-Permissions: create,read,update'));
  t.ok(lines.includes('X-Forwarded-For: 127.0.0.1'));
  t.ok(lines.some((line) => /^host: api\.example$/i.test(line)));
  t.ok(lines.includes('Accept: a, b'));
  for (const gone of ['authorization', 'x-hop', 'x_auth_subject', 'x-real-ip', 'te', 'upgrade']) {
    t.notOk(names.includes(gone), `${gone} does not pass`);
  }
});

t.test('a public route tells the upstream nothing of who asks', async (t) => {
  const { recorder, gateway } = await recording(t);
  const key = gateway.first.key.key;
  await sendRaw(
    gateway.trafficUrl,
    `GET /open/x HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\nX-Auth-Type: Bearer\r\nConnection: close\r\n\r\n`,
  );
  t.notMatch(recorder.bytes(), /x-auth|x-api-key/i);
});

t.test('a body streams up byte for byte, under its length or in chunks', async (t) => {
  const { recorder, gateway } = await recording(t, (socket, chunk) => {
    if (chunk.includes('end!')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const measured = await sendRaw(
    gateway.trafficUrl,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n',
    '\x00\xff\r\n01',
    'end!',
  );
  t.equal(measured.status, 200);
  t.match(recorder.bytes(), /content-length: 10/i);
  t.ok(recorder.bytes().endsWith('\r\n\r\n\x00\xff\r\n01end!'));
  recorder.reset();
  const chunked = await sendRaw(
    gateway.trafficUrl,
    'DELETE /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n',
    '5\r\nhello\r\n',
    '4\r\nend!\r\n0\r\n\r\n',
  );
  t.equal(chunked.status, 200);
  t.match(recorder.bytes(), /transfer-encoding: chunked/i);
  t.notMatch(recorder.bytes(), /content-length/i);
  t.ok(recorder.bytes().endsWith('4\r\nend!\r\n0\r\n\r\n'));
});

t.test(
  'a body over the limit is refused before a byte of it is read, or when it passes the limit',
  async (t) => {
    const { recorder, gateway } = await recording(t, () => undefined);
    const announced = await sendRaw(
      gateway.trafficUrl,
      'POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n',
    );
    t.equal(announced.status, 413);
    t.match(announced.body, /"code":"body_too_large"/);
    t.notMatch(announced.text, /100 Continue/);
    t.equal(recorder.connections(), 0);
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const streamed = await sendRaw(
      gateway.trafficUrl,
      'POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
      ...Array.from({ length: 6 }, () => chunk),
    );
    t.equal(streamed.status, 413);
    t.notMatch(recorder.bytes(), /\r\n0\r\n\r\n$/, 'the upstream sees no clean end');
  },
);

t.test('100 Continue is said once the checks have passed', async (t) => {
  const { gateway } = await recording(t, (socket, chunk) => {
    if (chunk.includes('hello')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  });
  const answer = await sendRaw(
    gateway.trafficUrl,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n',
    'hello',
  );
  t.match(answer.text, /^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK/);
  const other = await sendRaw(
    gateway.trafficUrl,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n',
  );
  t.equal(other.status, 417);
});

t.test('inspected JSON passes byte-identical or is refused', async (t) => {
  const { recorder, gateway } = await recording(t);
  const post = (body: string, type = 'application/json') =>
    sendRaw(
      gateway.trafficUrl,
      `POST /json/x HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
  const odd = '{ "a" :1e2,\t"b": "\\u0041<3 O\'Reilly" }';
  t.equal((await post(odd)).status, 200);
  t.ok(recorder.bytes().endsWith(`\r\n\r\n${odd}`));
  recorder.reset();
  t.equal((await post('{"a":')).status, 400);
  t.equal((await post('{"__proto__":{"x":1}}')).status, 400);
  t.equal((await post('"\xff"')).status, 400);
  t.equal((await post('['.repeat(100) + ']'.repeat(100))).status, 400);
  t.equal((await post('<a/>', 'application/xml')).status, 415);
  t.equal(recorder.connections(), 0, 'nothing of it was forwarded');
});

t.test(
  'a response streams down with security headers once and the upstream’s own in no one’s way',
  async (t) => {
    const { gateway } = await recording(t, (socket) => {
      socket.write(
        'HTTP/1.1 203 Non-Authoritative\r\nX-Frame-Options: ALLOWALL\r\nConnection: X-Secret, close\r\nX-Secret: 1\r\n' +
          'X-Request-Id: theirs\r\nAccess-Control-Allow-Origin: *\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n' +
          'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
      );
    });
    const answer = await sendRaw(
      gateway.trafficUrl,
      'GET /open/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    t.equal(answer.status, 203);
    t.strictSame(answer.headers.get('x-frame-options'), ['DENY']);
    t.strictSame(answer.headers.get('set-cookie'), ['a=1', 'b=2']);
    t.equal(answer.headers.get('x-request-id')?.length, 1);
    t.notOk(answer.headers.has('x-secret'));
    t.notOk(answer.headers.has('access-control-allow-origin'));
    t.match(answer.body, /abc/);
  },
);

t.test('an upstream that answers early ends a connection whose body nobody will read', async (t) => {
  const { gateway } = await recording(t);
  const answer = await sendRaw(
    gateway.trafficUrl,
    'POST /large/x HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\nhello',
  );
  t.equal(answer.status, 200);
  t.strictSame(answer.headers.get('connection'), ['close']);
});

t.test('a client that leaves takes the upstream request with it', async (t) => {
  let upstreamClosed = false;
  const { gateway } = await recording(t, (socket) => {
    socket.on('close', () => {
      upstreamClosed = true;
    });
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  });
  const client = connect(Number(new URL(gateway.trafficUrl).port), '127.0.0.1');
  client.write('GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(client, 'data');
  client.destroy();
  for (let tries = 0; tries < 50 && !upstreamClosed; tries += 1) await pause(20);
  t.ok(upstreamClosed);
  t.match((await gateway.audit()).at(-1), { code: 'client_closed', status_code: 499 });
});

t.test('a chunk that is no chunk is 400, and the upstream sees no clean end', async (t) => {
  const { recorder, gateway } = await recording(t, () => undefined);
  const answer = await sendRaw(
    gateway.trafficUrl,
    'POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    '0x5\r\nhello\r\n0\r\n\r\n',
  );
  t.equal(answer.status, 400);
  t.ok(answer.closed);
  t.notMatch(recorder.bytes(), /0\r\n\r\n$/);
  const completes = (await gateway.audit()).filter(
    ({ path, stage }) => path === '/open/x' && stage === 'complete',
  );
  t.equal(completes.length, 1, 'one record');
  t.match(completes[0], { status_code: 400, code: 'malformed_body' });
});

t.test(
  'more requests than sockets and places are 503 at once; the others pass when there is room',
  async (t) => {
    let held = true;
    const waiting: Socket[] = [];
    const answer = (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    const { gateway } = await recording(t, (socket) => {
      if (held) waiting.push(socket);
      else answer(socket);
    });
    const statuses: number[] = [];
    const calls = Array.from({ length: 6 }, async () => {
      const { status, headers } = await fetch(`${gateway.trafficUrl}/patient/x`);
      statuses.push(status);
      t.equal(headers.get('retry-after'), status === 503 ? '1' : null);
    });
    for (let tries = 0; tries < 500 && (statuses.length < 3 || waiting.length < 2); tries += 1)
      await pause(10);
    t.strictSame(statuses, [503, 503, 503], 'two sockets, one place');
    held = false;
    for (const socket of waiting) answer(socket);
    await Promise.all(calls);
    t.strictSame(statuses.slice(3), [200, 200, 200]);
  },
);

t.test('bodies of any size pass in constant memory, both ways', async (t) => {
  // STREAM_MIB=1024 sends a GiB each way.
  const bytes = Number(process.env.STREAM_MIB ?? 320) * 1024 * 1024;
  let received = 0;
  const gateway = await serving(
    t,
    createServer((request, response) => {
      request.on('data', (chunk) => {
        received += chunk.length;
      });
      request.on('end', () => {
        response.writeHead(200);
        const block = Buffer.alloc(1024 * 1024);
        let left = bytes;
        const more = () => {
          while (left > 0) {
            left -= block.length;
            if (!response.write(block)) {
              response.once('drain', more);
              return;
            }
          }
          response.end();
        };
        more();
      });
    }),
  );
  const before = process.memoryUsage().arrayBuffers;
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().arrayBuffers);
  }, 5);
  const block = new Uint8Array(1024 * 1024);
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      sent += block.length;
      if (sent > bytes) controller.close();
      else controller.enqueue(block);
    },
  });
  const response = await fetch(`${gateway.trafficUrl}/large/x`, {
    method: 'POST',
    body,
    duplex: 'half',
  } as RequestInit);
  let answered = 0;
  for await (const chunk of response.body ?? []) {
    answered += chunk.length;
    // A slow reader: what it does not take must not pile up here.
    if (answered % (32 * 1024 * 1024) < chunk.length) await pause(10);
  }
  clearInterval(watch);
  t.equal(received, bytes);
  t.equal(answered, bytes);
  // Client, gateway and upstream share this process, so the margin is wide; a body held whole would be 320.
  t.ok(peak - before < 160 * 1024 * 1024, `at most ${Math.round((peak - before) / 1048576)} MiB more`);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
