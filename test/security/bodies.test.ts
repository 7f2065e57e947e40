/** Bodies at the running gateway, over raw sockets: what is refused reaches no one, what passes arrives to the byte. */
import { gzipSync } from 'node:zlib';
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
upstreams: { app: { url: "\${REGISTRY_URL}" } }
inspection:
  strict: {}
  watching: { rules: { script: report, bidi: report, invisible: report, control: report, numbers: report } }
routes:
  - { path: /strict, upstream: app, permission: none, class: public, inspect: strict, max_body: 256KiB }
  - { path: /watching, upstream: app, permission: none, class: public, inspect: watching }
  - { path: /files, upstream: app, permission: none, class: public, content_types: [multipart/form-data, image/*], max_body: 1KiB }
`;

interface Post {
  readonly path?: string;
  readonly type?: string;
  readonly headers?: string;
}

async function behind(t: Test) {
  const recorder = await startByteRecorder((socket, chunk) => {
    // The whole of it comes in one or two pieces; an answer to the first would end the request early.
    if (!chunk.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  t.teardown(() => recorder.close());
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl: recorder.url, yaml });
  t.teardown(() => gateway.close());
  const post = (
    body: string | Buffer,
    { path = '/strict', type = 'application/json', headers = '' }: Post = {},
  ) => {
    const bytes = Buffer.from(body as string).toString('latin1');
    return sendRaw(
      gateway.trafficUrl,
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n${headers}Content-Length: ${bytes.length}\r\nConnection: close\r\n\r\n${bytes}`,
    );
  };
  return { recorder, gateway, post };
}

t.test('control: legitimate text passes to the byte', async (t) => {
  const { recorder, post } = await behind(t);
  for (const body of [
    '{"description": "O\'Reilly <3 SELECT * FROM tools; -- the word javascript"}',
    ' { "b" : 1.50e+2 , "a":"\\u00fc\\/", "emoji": "👩‍💻", "עברית": "שלום" }\n',
    '[]',
  ]) {
    recorder.reset();
    t.equal((await post(body)).status, 200, body);
    const sent = Buffer.from(recorder.bytes(), 'latin1').toString();
    t.ok(sent.endsWith(`\r\n\r\n${body}`), 'byte for byte');
  }
});

t.test(
  'attack 36: what would cost more than it weighs is refused, and nothing of it forwarded',
  async (t) => {
    const { recorder, gateway, post } = await behind(t);
    t.equal((await post('['.repeat(100_000))).status, 400, 'JSON 100,000 deep');
    t.equal((await post(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).status, 400, 'and closed again');
    t.equal(
      (await post(gzipSync('0'.repeat(10_000_000)), { headers: 'Content-Encoding: gzip\r\n' })).status,
      415,
    );
    t.equal((await post(`{"a": "<a ${' onx'.repeat(12_500)}onload="}`)).status, 422, '50 KB of bait');
    t.equal((await post(`[${'0,'.repeat(110_000)}0]`)).status, 400, 'too many elements');
    const keys = Array.from({ length: 10_001 }, (_, at) => `"${at}":0`).join();
    t.equal((await post(`{${keys}}`)).status, 400, 'too many keys');
    const endless = await sendRaw(
      gateway.trafficUrl,
      'POST /strict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
      ...Array.from({ length: 18 }, () => `4000\r\n${' '.repeat(0x4000)}\r\n`),
    );
    t.equal(endless.status, 413, 'an endless chunked body');
    t.equal(recorder.connections(), 0);
  },
);

t.test(
  'what parsers read differently, or runs or hides in a page, is refused and on record by rule',
  async (t) => {
    const { recorder, gateway, post } = await behind(t);
    for (const [status, body] of [
      [400, '{"role": "user", "role": "admin"}'],
      [400, '{"role": "user", "r\\u006fle": "admin"}'],
      [400, '{"__proto__": {"admin": true}}'],
      [400, '\ufeff{}'],
      [400, '"\\ud800"'],
      [422, '{"a": "<ScRiPt>hunter2</script>"}'],
      [422, '{"a": "\\u003csvg/onload\\u003dhunter2>"}'],
      [422, '{"<img src=x onerror=hunter2>": 1}'],
      [422, '{"a": "<a href=\\"&#106;ava\\tscript:hunter2\\">"}'],
      [422, '{"a": "hunter2\\u202e"}'],
      [422, '{"a": "hunter2\\u200b"}'],
      [422, '{"a": "hunter2\\u0000"}'],
      [422, '{"a": 9007199254740993}'],
    ] as const) {
      const answer = await post(body);
      t.equal(answer.status, status, body);
      t.notMatch(answer.body, /hunter2/);
    }
    t.equal(recorder.connections(), 0);
    const records = (await gateway.audit()).filter(({ stage }) => stage === 'complete');
    t.notMatch(JSON.stringify(records), /hunter2/);
    t.strictSame(
      records.flatMap(({ findings }) => findings ?? []),
      ['script', 'script', 'script', 'script', 'bidi', 'invisible', 'control', 'numbers'].map(
        (rule) => `${rule}:refuse`,
      ),
    );
  },
);

t.test('a rule that reports lets the body pass to the byte, and is on record and counted', async (t) => {
  const { recorder, gateway, post } = await behind(t);
  const body = '{"a": "<script>", "b": ["\\u202e", 1e400]}';
  t.equal((await post(body, { path: '/watching' })).status, 200);
  t.ok(recorder.bytes().endsWith(`\r\n\r\n${body}`));
  const record = (await gateway.audit()).find(({ stage }) => stage === 'complete');
  t.match(record, {
    status_code: 200,
    decision: 'allow',
    findings: ['script:report', 'bidi:report', 'numbers:report'],
  });
  const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  t.match(metrics, /portcullis_body_findings_total\{route="\/watching",rule="script",action="report"\} 1/);
});

t.test('what is not looked into is judged by type and size', async (t) => {
  const { recorder, post } = await behind(t);
  const files = '/files';
  t.equal((await post('<script>', { path: files, type: 'multipart/form-data; boundary=x' })).status, 200);
  t.ok(recorder.bytes().endsWith('<script>'));
  recorder.reset();
  t.equal((await post('x', { path: files, type: 'text/html' })).status, 415);
  t.equal((await post('x', { path: files, type: 'multipart/form-data' })).status, 415);
  t.equal((await post('x', { path: files, type: 'image/png, text/html' })).status, 415);
  t.equal((await post('x'.repeat(1_025), { path: files, type: 'image/png' })).status, 413);
  t.equal(recorder.connections(), 0);
});
