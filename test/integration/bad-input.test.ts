/** Bad input: the right status, a problem body with a stable code, an audit record, nothing lost, nothing leaked. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';
import { startTestRegistry } from '../support/registry.ts';

let gateway: TestGateway;
let key = '';
const rateless = readFileSync('gateway.yaml', 'utf8')
  .replaceAll(/rate: [^}]*\/minute"? }/g, 'rate: 100000/minute }')
  .replace('failures: { rate: 30/minute }', 'failures: { rate: 100000/minute }');

t.before(async () => {
  const directory = t.testdir();
  const registry = await startTestRegistry(directory);
  gateway = await startTestGateway({ directory, registry, yaml: rateless });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  key = gateway.first.key.key;
});

interface Bad {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly as?: 'nobody' | 'key' | 'admin';
  readonly status: number;
  readonly code: string;
  /** The field that `errors` names. */
  readonly field?: string;
  /** The audit record's internal reason. */
  readonly reason?: string;
}

const json = { 'content-type': 'application/json' };
const form = { 'content-type': 'application/x-www-form-urlencoded' };
const wrongKey = 'mcp_AAAAAAAAAAAA_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA000000';
const goodTool = '{"name":"a","inputSchema":{"type":"object"}}';

const table: readonly Bad[] = [
  {
    name: 'no credential',
    method: 'GET',
    path: '/tools',
    as: 'nobody',
    status: 401,
    code: 'credential_missing',
  },
  {
    name: 'a wrong password',
    method: 'POST',
    path: '/auth/login',
    headers: form,
    body: 'username=admin&password=wrong',
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
    reason: 'wrong_password',
  },
  {
    name: 'an unknown user',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    body: '{"username":"nobody","password":"wrong"}',
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
    reason: 'unknown_user',
  },
  {
    name: 'a form without a field',
    method: 'POST',
    path: '/auth/login',
    headers: form,
    body: 'username=admin',
    as: 'nobody',
    status: 422,
    code: 'validation_failed',
    field: 'password',
  },
  {
    name: 'a form with a field twice',
    method: 'POST',
    path: '/auth/login',
    headers: form,
    body: 'username=a&password=b&password=c',
    as: 'nobody',
    status: 400,
    code: 'malformed_body',
  },
  {
    name: 'malformed JSON',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    body: '{"username":',
    as: 'nobody',
    status: 400,
    code: 'malformed_body',
  },
  {
    name: 'a poisoned prototype',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    body: '{"__proto__":{"is_admin":true}}',
    as: 'nobody',
    status: 400,
    code: 'malformed_body',
  },
  {
    name: 'a field of the wrong type',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    body: '{"username":1,"password":{}}',
    as: 'nobody',
    status: 422,
    code: 'validation_failed',
    field: 'username',
  },
  {
    name: 'no body',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    as: 'nobody',
    status: 400,
    code: 'malformed_body',
  },
  {
    name: 'a content type of no use',
    method: 'POST',
    path: '/auth/login',
    headers: { 'content-type': 'text/xml' },
    body: '<a/>',
    as: 'nobody',
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    name: 'a body over an endpoint’s limit',
    method: 'POST',
    path: '/auth/login',
    headers: json,
    body: ' '.repeat(70_000),
    as: 'nobody',
    status: 413,
    code: 'body_too_large',
  },
  {
    name: 'a key with a typing error',
    method: 'GET',
    path: '/tools',
    headers: { 'x-api-key': wrongKey },
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
    reason: 'bad_checksum',
  },
  {
    name: 'a token that is none',
    method: 'GET',
    path: '/tools',
    headers: { authorization: 'Bearer rubbish' },
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
  },
  {
    name: 'another scheme',
    method: 'GET',
    path: '/tools',
    headers: { authorization: 'Basic YTpi' },
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
  },
  {
    name: 'two credentials',
    method: 'GET',
    path: '/tools',
    headers: { 'x-api-key': wrongKey },
    as: 'key',
    status: 400,
    code: 'ambiguous_credential',
  },
  {
    name: 'a used-up refresh token that is none',
    method: 'POST',
    path: '/auth/refresh',
    headers: json,
    body: '{"refresh_token":"x"}',
    as: 'nobody',
    status: 401,
    code: 'invalid_credential',
  },
  {
    name: 'an unknown path, known caller',
    method: 'GET',
    path: '/nonesuch',
    as: 'key',
    status: 404,
    code: 'route_not_found',
  },
  {
    name: 'an unknown path, unknown caller',
    method: 'GET',
    path: '/nonesuch',
    as: 'nobody',
    status: 401,
    code: 'credential_missing',
  },
  {
    name: 'a method the path does not take',
    method: 'PUT',
    path: '/tools',
    headers: json,
    body: '{}',
    as: 'key',
    status: 405,
    code: 'method_not_allowed',
  },
  {
    name: 'a tool that does not exist',
    method: 'GET',
    path: '/tools/00000000-0000-4000-8000-000000000000',
    as: 'key',
    status: 404,
    code: 'resource_not_found',
  },
  {
    name: 'a tool id that is none',
    method: 'GET',
    path: '/tools/x%20y',
    as: 'key',
    status: 404,
    code: 'resource_not_found',
  },
  {
    name: 'a tool without a name',
    method: 'POST',
    path: '/tools',
    headers: json,
    body: '{"inputSchema":{"type":"object"}}',
    as: 'key',
    status: 422,
    code: 'validation_failed',
    field: 'name',
  },
  {
    name: 'a tool of malformed JSON',
    method: 'POST',
    path: '/tools',
    headers: json,
    body: '{',
    as: 'key',
    status: 400,
    code: 'malformed_body',
  },
  {
    name: 'a tool over the limit',
    method: 'POST',
    path: '/tools',
    headers: json,
    body: ' '.repeat(300_000),
    as: 'key',
    status: 413,
    code: 'body_too_large',
  },
  {
    name: 'a page out of range',
    method: 'GET',
    path: '/tools?page_size=101',
    as: 'key',
    status: 422,
    code: 'validation_failed',
    field: 'page_size',
  },
  {
    name: 'an admin page out of range',
    method: 'GET',
    path: '/admin/users?page=0',
    as: 'admin',
    status: 422,
    code: 'validation_failed',
    field: 'page',
  },
  {
    name: 'an unknown query of an endpoint',
    method: 'GET',
    path: '/admin/users?pgae=1',
    as: 'admin',
    status: 422,
    code: 'validation_failed',
    field: 'pgae',
  },
  {
    name: 'a user that does not exist',
    method: 'PATCH',
    path: '/admin/users/AAAAAAAAAAAA',
    headers: json,
    body: '{"is_admin":false}',
    as: 'admin',
    status: 404,
    code: 'resource_not_found',
  },
  {
    name: 'a user whose name is taken',
    method: 'POST',
    path: '/admin/users',
    headers: json,
    body: '{"username":"ADMIN","password":"long enough to pass"}',
    as: 'admin',
    status: 409,
    code: 'conflict',
  },
  {
    name: 'a user with a weak password',
    method: 'POST',
    path: '/admin/users',
    headers: json,
    body: '{"username":"eve","password":"short"}',
    as: 'admin',
    status: 422,
    code: 'validation_failed',
    field: 'password',
  },
  {
    name: 'a user with a field too many',
    method: 'POST',
    path: '/admin/users',
    headers: json,
    body: '{"username":"eve","password":"long enough to pass","role":"root"}',
    as: 'admin',
    status: 422,
    code: 'validation_failed',
    field: 'role',
  },
  {
    name: 'a key that expired before it was made',
    method: 'POST',
    path: '/admin/api-keys',
    headers: json,
    body: '{"name":"k","expires_at":"2020-01-01T00:00:00"}',
    as: 'admin',
    status: 422,
    code: 'validation_failed',
    field: 'expires_at',
  },
  {
    name: 'a key that does not exist',
    method: 'DELETE',
    path: '/admin/api-keys/AAAAAAAAAAAA',
    as: 'admin',
    status: 404,
    code: 'resource_not_found',
  },
  {
    name: 'a foreign page that changes things',
    method: 'POST',
    path: '/tools',
    headers: { ...json, origin: 'https://evil.example' },
    body: goodTool,
    as: 'key',
    status: 403,
    code: 'origin_not_allowed',
  },
  {
    name: 'a page of no origin that logs in',
    method: 'POST',
    path: '/auth/login',
    headers: { ...form, origin: 'null' },
    body: 'username=a&password=b',
    as: 'nobody',
    status: 403,
    code: 'origin_not_allowed',
  },
];

const securityHeaders = [
  'x-content-type-options',
  'x-frame-options',
  'x-xss-protection',
  'strict-transport-security',
  'referrer-policy',
  'permissions-policy',
  'content-security-policy',
  'x-request-id',
];

async function checkBad(t: Test, bad: Bad): Promise<void> {
  const headers = { ...bad.headers, ...(bad.as === 'key' && { authorization: `Bearer ${key}` }) };
  const response =
    bad.as === 'admin'
      ? await gateway.admin(bad.method, bad.path, bad.body === undefined ? undefined : JSON.parse(bad.body))
      : await fetch(gateway.trafficUrl + bad.path, {
          method: bad.method,
          headers,
          ...(bad.body !== undefined && { body: bad.body }),
        });
  const text = await response.text();
  const problem = JSON.parse(text);
  t.match(
    { status: response.status, ...problem },
    { status: bad.status, code: bad.code, title: String, detail: String },
  );
  t.equal(response.headers.get('content-type'), 'application/problem+json');
  t.equal(problem.request_id, response.headers.get('x-request-id'));
  for (const name of securityHeaders) t.notMatch(response.headers.get(name), /^$|DENY, DENY/, name);
  if (bad.field !== undefined)
    t.ok(
      problem.errors.some(({ field }: { field: string }) => field === bad.field),
      text,
    );
  t.notMatch(
    text,
    /node_modules|\.ts\b|SQLITE|sqlite|at .*:\d+:\d+|127\.0\.0\.1:\d/,
    'nothing of the inside',
  );
  if (bad.status === 401) t.match(response.headers.get('www-authenticate'), /^Bearer realm=/);
  const record = (await gateway.audit()).find(
    ({ id, stage }) => stage === 'complete' && id === problem.request_id,
  );
  t.match(record, { method: bad.method, path: bad.path.replace(/\?.*/, ''), status_code: bad.status });
  if (bad.reason !== undefined) t.equal(record?.reason, bad.reason);
}

for (const bad of table) t.test(`${bad.name}: ${bad.status} ${bad.code}`, (t) => checkBad(t, bad));

t.test('why a credential failed is not to be read from the answer', async (t) => {
  const bodies = new Set<string>();
  const disabled = (await (
    await gateway.admin('POST', '/admin/api-keys', { name: 'd', can_read: true })
  ).json()) as { id: string; key: string };
  await gateway.admin('POST', `/admin/api-keys/${disabled.id}/toggle`, { is_active: false });
  const oneOff = `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`;
  for (const credential of [wrongKey, oneOff, disabled.key, 'mcp_', 'a.b.c', 'x'.repeat(9_000)]) {
    const response = await fetch(`${gateway.trafficUrl}/tools`, {
      headers: { authorization: `Bearer ${credential}` },
    });
    const kept = [...response.headers].filter(
      ([name]) => !['date', 'x-request-id', 'content-length'].includes(name),
    );
    bodies.add(
      JSON.stringify([response.status, kept, { ...((await response.json()) as object), request_id: '' }]),
    );
  }
  t.equal(bodies.size, 1, [...bodies].join('\n'));
});

t.test('what never becomes a request is answered, and recorded once', async (t) => {
  for (const [name, request, status] of [
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['HTTP/0.9', 'GET /\r\n\r\n', 505],
    ['another version', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    [
      'two lengths',
      'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      400,
    ],
    [
      'a length and chunks',
      'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
    ],
    ['two hosts', 'GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
    ['no host', 'GET /health HTTP/1.1\r\n\r\n', 400],
    ['dot segments', 'GET /tools/../admin/users HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['absolute form', 'GET http://evil.example/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['CONNECT', 'CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    ['TRACE', 'TRACE /health HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    ['a large header', `GET /health HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`, 431],
    ['many headers', `GET /health HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(2_000)}\r\n`, 431],
  ] as const) {
    const before = (await gateway.audit()).length;
    const answer = await sendRaw(gateway.trafficUrl, request);
    t.equal(answer.status, status, name);
    t.match(answer.body, /"code":"[a-z_]+"/, name);
    for (const header of securityHeaders)
      t.equal(answer.headers.get(header)?.length, 1, `${name}: ${header}`);
    const after = await gateway.audit();
    t.equal(after.length, before + 1, `${name}: one record`);
    t.match(after.at(-1), { status_code: status, decision: 'deny' }, name);
  }
});

t.test('405 names what the path takes', async (t) => {
  const response = await fetch(`${gateway.trafficUrl}/tools`, {
    method: 'DELETE',
    headers: { 'x-api-key': key },
  });
  t.equal(response.status, 405);
  t.strictSame(response.headers.get('allow')?.split(', ').toSorted(), ['GET', 'HEAD', 'POST']);
});

t.test('it lives on after all of that, and nothing was stored', async (t) => {
  const response = await fetch(`${gateway.trafficUrl}/tools`, { headers: { 'x-api-key': key } });
  t.match(await response.json(), { total: 0 });
});
