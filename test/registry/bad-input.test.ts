import t from 'tap';
import { asserted, plainTool, sendBytes, testRegistry } from './registry.ts';

const wrongFields: Array<[string, object | undefined, string]> = [
  ['name', { name: undefined }, 'is required'],
  ['name', { name: '' }, 'must be 1 to 128'],
  ['name', { name: 'a b' }, 'must be 1 to 128'],
  ['name', { name: 'a/b' }, 'must be 1 to 128'],
  ['name', { name: 'ä' }, 'must be 1 to 128'],
  ['name', { name: 'a\n' }, 'must be 1 to 128'],
  ['name', { name: 'x'.repeat(129) }, 'must be 1 to 128'],
  ['name', { name: 7 }, 'expected string'],
  ['title', { title: '' }, ''],
  ['title', { title: 'x'.repeat(257) }, ''],
  ['title', { title: 'two\nlines' }, 'one line'],
  ['title', { title: ' x' }, 'one line'],
  ['title', { title: null }, 'expected string'],
  ['description', { description: 'x'.repeat(16_385) }, ''],
  ['description', { description: 'lone \ud800 surrogate' }, 'well-formed'],
  ['description', { description: 'nul \0' }, 'well-formed'],
  ['inputSchema', { inputSchema: undefined }, 'is required'],
  ['inputSchema', { inputSchema: [] }, ''],
  ['annotations.readOnlyHint', { annotations: { readOnlyHint: 'yes' } }, 'expected boolean'],
  ['annotations.other', { annotations: { other: true } }, 'not a known field'],
  ['tags', { tags: 'x' }, 'expected array'],
  ['tags', { tags: ['x', 'x'] }, 'twice'],
  ['tags', { tags: Array.from({ length: 33 }, (_, index) => `${index}`) }, ''],
  ['tags.1', { tags: ['x', ''] }, ''],
  ['tags.0', { tags: ['x'.repeat(65)] }, ''],
  ['version', { version: '' }, ''],
  ['version', { version: 1 }, ''],
  ['server.transport', { server: { url: 'http://x/' } }, ''],
  ['server.transport', { server: { url: 'http://x/', transport: 'carrier-pigeon' } }, ''],
  ['server.url', { server: { transport: 'sse' } }, 'is required'],
  ['server.url', { server: { transport: 'stdio', url: 'http://x/' } }, 'not a known field'],
  ['server.url', { server: { transport: 'sse', url: 'ftp://x/' } }, 'http'],
  ['server.url', { server: { transport: 'sse', url: 'javascript:alert(1)' } }, 'http'],
  ['server.url', { server: { transport: 'sse', url: '/relative' } }, 'http'],
  ['server.url', { server: { transport: 'sse', url: 'http://user:hunter2@x/' } }, 'without a credential'],
  ['server.url', { server: { transport: 'sse', url: 'http://x/\n' } }, 'http'],
  ['server.url', { server: { transport: 'sse', url: 'http:\\\\x' } }, 'http'],
  ['server.url', { server: { transport: 'sse', url: `http://x/${'x'.repeat(2_048)}` } }, ''],
  ['created_by', { created_by: 'me' }, 'not a known field'],
  ['surprise', { surprise: 1 }, 'not a known field'],
];

/** A line of a head: what the gateway would add to this request. */
const assertionLine = (method: string, target: string) =>
  `X-Auth-Assertion: ${asserted(method, target, {})['x-auth-assertion']}\r\n`;

t.test('a wrong field is named, and its value is not repeated', async (t) => {
  const registry = await testRegistry(t);
  for (const [field, change, message] of wrongFields) {
    const label = `${field} ${JSON.stringify(change)?.slice(0, 60)}`;
    const { status, json, text } = await registry.send('POST', '/tools', { ...plainTool('one'), ...change });
    t.equal(status, 422, label);
    t.equal(json.code, 'validation_failed');
    t.equal(json.errors[0].field, field, label);
    t.ok(json.errors[0].message.includes(message), label);
    t.notMatch(text, 'hunter2');
  }
  t.equal((await registry.send('GET', '/tools')).json.total, 0);
});

t.test('every wrong field is named at once, up to a bound', async (t) => {
  const registry = await testRegistry(t);
  const { json } = await registry.send('POST', '/tools', { name: 1, title: 2, extra: 3 });
  const fields = json.errors.map((error: { field: string }) => error.field);
  t.strictSame(fields.sort(), ['extra', 'inputSchema', 'name', 'title']);
  const many = Object.fromEntries(
    Array.from({ length: 500 }, (_, index) => [`${'k'.repeat(400)}${index}`, 1]),
  );
  const answer = await registry.send('POST', '/tools', { ...plainTool('one'), ...many });
  t.equal(answer.json.errors.length, 20);
  t.ok(answer.text.length < 20_000);
});

t.test('a body that is not JSON is refused', async (t) => {
  const registry = await testRegistry(t);
  const bodies: Array<string | Uint8Array> = [
    '',
    '{',
    '{"name":}',
    'name=x',
    '{} {}',
    "{'name':'x'}",
    Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d),
    '{"__proto__":{"x":1}}',
    '{"a":{"__proto__":null}}',
    '{"\\u005f_proto__":{}}',
    '{"constructor":{"prototype":{"x":1}}}',
  ];
  for (const body of bodies) {
    const { status, json } = await registry.send('POST', '/tools', body);
    t.match({ status, json }, { status: 400, json: { code: 'malformed_body' } }, String(body));
  }
});

t.test('a body that is JSON but no object is refused', async (t) => {
  const registry = await testRegistry(t);
  for (const body of ['[]', '"x"', '1', 'null', 'true']) {
    const { status, json } = await registry.send('POST', '/tools', body);
    t.match({ status, json }, { status: 422, json: { errors: [{ field: '' }] } }, body);
  }
});

t.test('a body nested as deep as it can be is refused with its field, wherever it stands', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const objects = `${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`;
  for (const [method, path] of [
    ['POST', '/tools'],
    ['PUT', `/tools/${id}`],
    ['PATCH', `/tools/${id}`],
  ] as const) {
    for (const field of ['inputSchema', 'server', 'surprise']) {
      for (const value of [deep, objects]) {
        const { status, json } = await registry.send(method, path, `{"name":"x","${field}":${value}}`);
        t.match({ status, json }, { status: 422, json: { errors: [{ field }] } }, `${method} ${field}`);
      }
    }
    t.equal((await registry.send(method, path, deep)).status, 422);
  }
});

t.test('other content types are refused', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonx',
    'application/json; charset=latin1',
  ];
  for (const type of [...types, 'application/merge-patch+json']) {
    const { status, json } = await registry.send('POST', '/tools', plainTool('x'), { 'content-type': type });
    t.match({ status, json }, { status: 415, json: { code: 'unsupported_media_type' } }, type);
  }
  const patch = await registry.send('PATCH', `/tools/${id}`, [], {
    'content-type': 'application/json-patch+json',
  });
  t.equal(patch.status, 415);
  t.equal(patch.headers.get('accept-patch'), 'application/merge-patch+json, application/json');
  const packed = await registry.send('POST', '/tools', plainTool('x'), { 'content-encoding': 'gzip' });
  t.equal(packed.status, 415);
  const none = await sendBytes(
    registry.url,
    `POST /tools HTTP/1.1\r\nHost: x\r\n${assertionLine('POST', '/tools')}Connection: close\r\nContent-Length: 2\r\n\r\n{}`,
  );
  t.match(none, /^HTTP\/1.1 415 /);
});

t.test('a body over the limit is refused, whether its length is told or not', async (t) => {
  const registry = await testRegistry(t);
  const tooLarge = { status: 413, json: { code: 'body_too_large' } };
  const padded = (bytes: number) => JSON.stringify(plainTool('x')).padEnd(bytes, ' ');
  t.equal((await registry.send('POST', '/tools', padded(256 * 1024))).status, 201);
  const { status, json } = await registry.send('POST', '/tools', padded(256 * 1024 + 1));
  t.match({ status, json }, tooLarge);
  const streamed = await fetch(`${registry.url}/tools`, {
    method: 'POST',
    headers: asserted('POST', '/tools', { 'content-type': 'application/json' }),
    body: new Blob([padded(600 * 1024)]).stream(),
    duplex: 'half',
  });
  t.match({ status: streamed.status, json: await streamed.json() }, tooLarge);
  const endless = await sendBytes(
    registry.url,
    `POST /tools HTTP/1.1\r\nHost: x\r\n${assertionLine('POST', '/tools')}Content-Type: application/json\r\nContent-Length: 999999999\r\n\r\n{`,
  );
  t.match(endless, /^HTTP\/1.1 413 [\s\S]*connection: close/i);
  t.equal((await registry.send('GET', '/health')).status, 200);
});

t.test('a refusal that needs no body leaves the connection usable', async (t) => {
  const registry = await testRegistry(t);
  const body = 'x'.repeat(200_000);
  const answers = await sendBytes(
    registry.url,
    `POST /nowhere HTTP/1.1\r\nHost: x\r\n${assertionLine('POST', '/nowhere')}Content-Length: ${body.length}\r\n\r\n${body}` +
      'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  );
  t.match(answers, /^HTTP\/1.1 404 [\s\S]*HTTP\/1.1 200 [\s\S]*"ok"/);
});

t.test('an id that is none is not found, and neither is one that is not there', async (t) => {
  const registry = await testRegistry(t);
  const ids = [
    '1',
    'x',
    '%20',
    "'--",
    'search%00',
    '00000000-0000-4000-8000-000000000000',
    'A'.repeat(4_000),
  ];
  for (const id of ids) {
    for (const method of ['GET', 'HEAD', 'DELETE', 'PUT', 'PATCH']) {
      const body = method === 'PUT' || method === 'PATCH' ? plainTool('x') : undefined;
      const { status, json } = await registry.send(method, `/tools/${id}`, body);
      t.equal(status, 404, `${method} ${id}`);
      if (method !== 'HEAD') t.equal(json.code, 'resource_not_found');
    }
  }
});

t.test('an unknown path and an unknown method are told apart', async (t) => {
  const registry = await testRegistry(t);
  for (const path of [
    '/',
    '/tools/',
    '/Tools',
    '/tools/a/b',
    '/tools%2F',
    '/health/',
    '//tools',
    '/__proto__',
  ]) {
    const { status, json } = await registry.send('GET', path);
    t.match({ status, json }, { status: 404, json: { code: 'route_not_found' } }, path);
  }
  const wrong: Array<[string, string, string]> = [
    ['DELETE', '/tools', 'GET, HEAD, POST'],
    ['OPTIONS', '/tools', 'GET, HEAD, POST'],
    ['POST', '/tools/search', 'GET, HEAD'],
    ['POST', '/tools/x', 'GET, HEAD, PUT, PATCH, DELETE'],
    ['PUT', '/health', 'GET, HEAD'],
  ];
  for (const [method, path, allow] of wrong) {
    const { status, json, headers } = await registry.send(method, path);
    t.match({ status, json }, { status: 405, json: { code: 'method_not_allowed' } }, `${method} ${path}`);
    t.equal(headers.get('allow'), allow);
  }
});

t.test('a problem carries the request id that came with the request, if it is one', async (t) => {
  const registry = await testRegistry(t);
  const given = await registry.send('GET', '/x', undefined, { 'x-request-id': '0190-abc.DEF:1_2' });
  t.equal(given.json.request_id, '0190-abc.DEF:1_2');
  t.equal(given.headers.get('x-request-id'), '0190-abc.DEF:1_2');
  t.equal(given.headers.get('content-type'), 'application/problem+json');
  t.strictSame(Object.keys(given.json), ['type', 'title', 'status', 'detail', 'code', 'request_id']);
  for (const id of ['a b', '"}{', 'x'.repeat(129)]) {
    const other = await registry.send('GET', '/x', undefined, { 'x-request-id': id });
    t.match(other.json.request_id, /^[0-9a-f-]{36}$/, id);
  }
});

t.test('what is not HTTP gets a problem body too', async (t) => {
  const registry = await testRegistry(t);
  const malformed = await sendBytes(registry.url, 'NONSENSE\r\n\r\n');
  t.match(malformed, /^HTTP\/1.1 400 [\s\S]*"code":"malformed_request"/);
  const large = await sendBytes(
    registry.url,
    `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  );
  t.match(large, /^HTTP\/1.1 431 [\s\S]*"code":"headers_too_large"/);
  const smuggled =
    'POST /tools HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n';
  t.match(await sendBytes(registry.url, smuggled), /^HTTP\/1.1 400 /);
  t.equal((await registry.send('GET', '/health')).status, 200);
});
