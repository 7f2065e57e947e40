/** Spans from client to upstream: received by OTLP, decoded by the official schema; and what happens when nobody takes them. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { sendRaw } from '../support/raw-client.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parentId = 'b7ad6b7169203331';

const yaml = (tracing: string, trusted = '') => `
version: 1
listen: { port: "\${PORT}", trusted_proxies: [${trusted}] }
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
  app: { url: "\${REGISTRY_URL}", timeouts: { response: 400ms } }
routes:
  - { path: /open/*, upstream: app, permission: none, class: public }
  - { path: /read/*, upstream: app, permission: read, class: read }
tracing: { ${tracing} }
`;

/** What the upstream was told. */
interface Told {
  readonly heads: IncomingHttpHeaders[];
  readonly url: string;
  readonly port: number;
}

async function startUpstream(t: Test, listener: RequestListener = (_, response) => response.end('ok')) {
  const heads: IncomingHttpHeaders[] = [];
  const server = createServer((request, response) => {
    heads.push(request.headers);
    listener(request, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { heads, url: `http://127.0.0.1:${port}`, port } satisfies Told;
}

interface Traced {
  readonly gateway: TestGateway;
  readonly receiver: OtlpReceiver;
  readonly upstream: Told;
}

/** @param ratio `sample_ratio` */
async function traced(
  t: Test,
  {
    ratio = 1,
    trusted = '',
    listener,
  }: { ratio?: number; trusted?: string; listener?: RequestListener } = {},
): Promise<Traced> {
  const receiver = await startOtlpReceiver();
  const upstream = await startUpstream(t, listener);
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: upstream.url,
    env: { OTLP: receiver.url, COLLECTOR_KEY: 'collector-secret' },
    yaml: yaml(
      `endpoint: "\${OTLP}", sample_ratio: ${ratio}, service_name: edge, headers: { X-Api-Key: "\${COLLECTOR_KEY}", X-Empty: "" }`,
      trusted,
    ),
  });
  t.teardown(async () => {
    await gateway.close();
    await receiver.close();
  });
  return { gateway, receiver, upstream };
}

async function metric(gateway: TestGateway, name: string): Promise<number | undefined> {
  const text = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}

const of = (kind: 'server' | 'client', { spans }: OtlpReceiver) =>
  spans.filter((span) => span.kind === (kind === 'server' ? 2 : 3));

t.test('a trace goes from the client through both spans to the upstream', async (t) => {
  const { gateway, receiver, upstream } = await traced(t);
  const before = Date.now();
  await fetch(`${gateway.trafficUrl}/open/a`, {
    headers: { traceparent: `00-${traceId}-${parentId}-01`, tracestate: 'vendor=1' },
  });
  await receiver.received(2);
  const [server] = of('server', receiver);
  const [client] = of('client', receiver);
  t.equal(server?.traceId, traceId);
  t.equal(server?.parentSpanId, parentId);
  t.equal(client?.traceId, traceId);
  t.equal(client?.parentSpanId, server?.spanId);
  t.equal(upstream.heads[0]?.traceparent, `00-${traceId}-${client?.spanId}-01`, 'the upstream continues');
  t.equal(upstream.heads[0]?.tracestate, 'vendor=1');
  t.equal((await gateway.audit()).at(-1)?.trace_id, traceId, 'the audit record has the same');
  t.ok(
    server && client && server.startNs <= client.startNs && client.endNs <= server.endNs,
    'one in the other',
  );
  const startMs = Number((server?.startNs ?? 0n) / 1_000_000n);
  t.ok(startMs >= before - 1 && startMs <= Date.now() + 1, 'in wall time');
});

t.test('without a parent a trace begins here, and the next one is another', async (t) => {
  const { gateway, receiver, upstream } = await traced(t);
  for (const traceparent of ['', `00-${traceId}-${parentId}-zz`])
    await fetch(`${gateway.trafficUrl}/open/a`, { headers: { traceparent } });
  await receiver.received(4);
  const servers = of('server', receiver);
  t.strictSame(
    servers.map(({ parentSpanId }) => parentSpanId),
    ['', ''],
  );
  const traces = servers.map((span) => span.traceId);
  t.equal(new Set([...traces, traceId]).size, 3);
  t.strictSame(
    upstream.heads.map(({ traceparent }) => traceparent?.slice(3, 35)),
    traces,
  );
});

t.test('attributes are the HTTP conventions', async (t) => {
  const { gateway, receiver, upstream } = await traced(t);
  const { key } = gateway.first.key;
  await sendRaw(
    gateway.trafficUrl,
    `GET /read/a?q=1 HTTP/1.1\r\nHost: api.example:8443\r\nX-API-Key: ${key}\r\nConnection: close\r\n\r\n`,
  );
  await receiver.received(2);
  const [server] = of('server', receiver);
  const [client] = of('client', receiver);
  t.equal(server?.name, 'GET /read/*');
  t.strictSame(server?.attributes, {
    'http.request.method': 'GET',
    'http.route': '/read/*',
    'http.response.status_code': 200,
    'url.path': '/read/a',
    'url.scheme': 'http',
    'server.address': 'api.example',
    'server.port': 8443,
    'client.address': '127.0.0.1',
    'network.protocol.version': '1.1',
  });
  t.equal(client?.name, 'GET');
  t.strictSame(client?.attributes, {
    'http.request.method': 'GET',
    'http.response.status_code': 200,
    'url.full': `${upstream.url}/read/a`,
    'server.address': '127.0.0.1',
    'server.port': upstream.port,
  });
  t.strictSame([server?.status, client?.status], [0, 0]);
  t.match(server?.resource, {
    'service.name': 'edge',
    'service.version': '0.0.0-test',
    'service.instance.id': 'test',
  });
});

t.test('no credential and no query value leaves in a span', async (t) => {
  const { gateway, receiver } = await traced(t);
  const { key } = gateway.first.key;
  const secret = key.slice(-38);
  const token = `eyJhbGciOiJIUzI1NiJ9.${'a'.repeat(40)}.${'b'.repeat(40)}`;
  const get = (target: string, ...headers: string[]) =>
    sendRaw(
      gateway.trafficUrl,
      ['GET ', target, ' HTTP/1.1\r\nHost: a\r\n', ...headers, 'Connection: close\r\n\r\n'].join(''),
    );
  await get(`/read/${key}?value=hunter2`, `X-API-Key: ${key}\r\n`, 'Cookie: hunter2\r\n');
  await get(`/open/${token}?hunter2`, `Authorization: Bearer ${token}\r\n`, 'User-Agent: hunter2\r\n');
  await get(`http://user:hunter2@host/open/a?hunter2`);
  await get(`/nowhere/${key}?hunter2`, `X-API-Key: ${key}\r\n`, 'tracestate: hunter2=1\r\n');
  await receiver.received(6);
  const said = JSON.stringify(receiver.spans, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
  const bytes = Buffer.concat(receiver.bodies).toString('latin1');
  for (const hidden of ['hunter2', secret, token, 'b'.repeat(40), 'collector-secret']) {
    t.notMatch(said, hidden);
    t.notOk(bytes.includes(hidden), 'nor anywhere else in what was sent');
  }
  t.match(said, '/read/mcp_', 'the public part of a key stays');
});

t.test('the configured headers go with each export, those without a value do not', async (t) => {
  const { gateway, receiver } = await traced(t);
  await fetch(`${gateway.trafficUrl}/open/a`);
  await receiver.received(2);
  t.match(receiver.heads[0], { 'x-api-key': 'collector-secret', 'content-type': 'application/x-protobuf' });
  t.notOk('x-empty' in (receiver.heads[0] ?? {}));
});

t.test('a refusal is a server span alone, with our code', async (t) => {
  const { gateway, receiver, upstream } = await traced(t);
  await fetch(`${gateway.trafficUrl}/read/a`);
  await fetch(`${gateway.trafficUrl}/nowhere`, { headers: { 'x-api-key': gateway.first.key.key } });
  await sendRaw(gateway.trafficUrl, 'GET /a/../b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  await receiver.received(3);
  t.equal(receiver.spans.length, 3);
  t.strictSame(
    of('server', receiver).map(({ name, status, attributes }) => [
      name,
      attributes['http.response.status_code'],
      attributes['error.type'],
      status,
    ]),
    [
      ['GET /read/*', 401, 'credential_missing', 0],
      ['GET', 404, 'route_not_found', 0],
      ['GET', 400, 'ambiguous_target', 0],
    ],
  );
  t.equal(upstream.heads.length, 0);
});

t.test('an upstream that is silent is an error in both spans, its own 500 too', async (t) => {
  const { gateway, receiver } = await traced(t, {
    listener: ({ url }, response) => {
      if (url === '/open/500') response.writeHead(500).end();
      if (url === '/open/404') response.writeHead(404).end();
    },
  });
  for (const path of ['silent', '500', '404'])
    await (await fetch(`${gateway.trafficUrl}/open/${path}`)).text();
  await receiver.received(6);
  const told = (kind: 'server' | 'client') =>
    of(kind, receiver).map(({ attributes, status }) => [
      attributes['http.response.status_code'],
      attributes['error.type'],
      status,
    ]);
  t.strictSame(told('server'), [
    [504, 'upstream_timeout', 2],
    [500, '500', 2],
    [404, undefined, 0],
  ]);
  t.strictSame(told('client'), [
    [undefined, 'upstream_timeout', 2],
    [500, '500', 2],
    [404, '404', 2],
  ]);
});

t.test('a request sent again says so', async (t) => {
  let cut = false;
  const { gateway, receiver } = await traced(t, {
    listener: (request, response) => {
      if (cut) response.end('ok');
      else request.socket.destroy();
      cut = true;
    },
  });
  t.equal((await fetch(`${gateway.trafficUrl}/open/a`)).status, 200);
  await receiver.received(2);
  t.equal(of('client', receiver)[0]?.attributes['http.request.resend_count'], 1);
});

t.test('an untrusted client cannot force sampling, nor have the upstream sample', async (t) => {
  const { gateway, receiver, upstream } = await traced(t, { ratio: 0 });
  await fetch(`${gateway.trafficUrl}/open/a`, { headers: { traceparent: `00-${traceId}-${parentId}-01` } });
  await fetch(`${gateway.trafficUrl}/open/b`);
  await gateway.close();
  t.equal(receiver.spans.length, 0);
  t.equal(upstream.heads[0]?.traceparent, `00-${traceId}-${parentId}-00`, 'the trace goes on all the same');
  t.match(upstream.heads[1]?.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
});

t.test('a trusted peer decides, either way', async (t) => {
  for (const [ratio, flags, spans] of [
    [0, '01', 2],
    [1, '00', 0],
  ] as const) {
    const { gateway, receiver, upstream } = await traced(t, { ratio, trusted: '127.0.0.1' });
    await fetch(`${gateway.trafficUrl}/open/a`, {
      headers: { traceparent: `00-${traceId}-${parentId}-${flags}` },
    });
    await gateway.close();
    t.equal(receiver.spans.length, spans, flags);
    t.equal(upstream.heads[0]?.traceparent?.slice(-2), flags);
  }
});

t.test('about the ratio of the requests is sampled', async (t) => {
  const { gateway, receiver } = await traced(t, { ratio: 0.5 });
  for (let number = 0; number < 200; number += 1) await (await fetch(`${gateway.trafficUrl}/open/a`)).text();
  await gateway.close();
  const servers = of('server', receiver).length;
  // 60 is 5.6 standard deviations away.
  t.ok(servers > 60 && servers < 140, `${servers} of 200`);
});

t.test('what waits at the end is sent', async (t) => {
  const { gateway, receiver } = await traced(t);
  for (let number = 0; number < 300; number += 1) await (await fetch(`${gateway.trafficUrl}/open/a`)).text();
  await gateway.close();
  t.equal(receiver.spans.length, 600);
  t.equal(new Set(receiver.spans.map(({ spanId }) => spanId)).size, 600);
});

/** A gateway whose spans nobody takes, and how long it takes to answer and to end. */
async function without(t: Test, endpoint: string) {
  const upstream = await startUpstream(t);
  const gateway = await startTestGateway({
    directory: t.testdir(),
    registryUrl: upstream.url,
    env: { OTLP: endpoint },
    yaml: yaml(`endpoint: "\${OTLP}", sample_ratio: 1`),
  });
  let closed = false;
  const close = async () => {
    if (!closed) await gateway.close();
    closed = true;
  };
  t.teardown(close);
  const beganMs = performance.now();
  for (let number = 0; number < 300; number += 1) {
    const response = await fetch(`${gateway.trafficUrl}/open/a`);
    if (response.status !== 200) t.fail(`status ${response.status}`);
    await response.text();
  }
  return { gateway, close, takenMs: performance.now() - beganMs };
}

t.test(
  'a receiver that is dead, silent or failing slows no request, and the end waits a bounded time',
  async (t) => {
    const silent = await startOtlpReceiver(() => undefined);
    const failing = await startOtlpReceiver((response) => response.writeHead(500).end('sorry'));
    t.teardown(() => Promise.all([silent.close(), failing.close()]));
    for (const [name, endpoint] of [
      ['dead', 'http://127.0.0.1:9'],
      ['silent', silent.url],
      ['failing', failing.url],
    ] as const)
      await t.test(name, async (t) => {
        const { close, takenMs } = await without(t, endpoint);
        // One export is given 5 s; waiting for one would show.
        t.ok(takenMs < 4_500, `${takenMs} ms`);
        const beganMs = performance.now();
        await close();
        const closedMs = performance.now() - beganMs;
        // 3 s for spans, the rest for everything else on a busy machine.
        t.ok(closedMs < 9_000, `${closedMs} ms`);
      });
  },
);

t.test('spans that a receiver does not take are counted', async (t) => {
  const failing = await startOtlpReceiver((response) => response.writeHead(400).end('sorry'));
  t.teardown(() => failing.close());
  const { gateway } = await without(t, failing.url);
  const lost = () => metric(gateway, 'portcullis_trace_spans_total{result="export_failed"}');
  for (let tries = 0; tries < 100 && (await lost()) !== 600; tries += 1) await delay(100);
  t.equal(await lost(), 600);
  t.equal(await metric(gateway, 'portcullis_trace_spans_total{result="exported"}'), 0);
});
