/** The whole user story over real sockets, in the order a new user would live it, on the program as it is started. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { logIn } from '../support/gateway.ts';
import { type Program, programEnv, startProgram } from '../support/program.ts';

interface Called {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the shapes are what the assertions are about
  readonly json: any;
}

const directory = t.testdir();
let program: Program;
let traffic = '';
let operations = '';
let firstPassword = '';
let firstKey = '';
let admin = '';
let readOnlyKey = '';
let toolId = '';
let etag = '';
const newPassword = 'a new and longer password';

async function call(
  method: string,
  path: string,
  credential?: string,
  body?: unknown,
  headers = {},
): Promise<Called> {
  const response = await fetch(traffic + path, {
    method,
    headers: {
      ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    json: text === '' ? undefined : JSON.parse(text),
  };
}

const tool = {
  name: 'get_weather',
  title: 'Weather',
  description: "Tells O'Reilly's weather where it is <3 degrees; SELECT a city",
  inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  tags: ['weather'],
  version: '1.0.0',
  server: { url: 'http://weather.example/mcp', transport: 'streamable-http' },
};

t.before(() => {
  program = startProgram(['quickstart'], programEnv(directory));
});
t.teardown(() => program.stop('SIGKILL'));

t.test('the first start tells where everything is, and the secrets once', async (t) => {
  traffic = (await program.said(/traffic +(\S+)/))[1] ?? '';
  operations = (await program.said(/metrics +(\S+)\/metrics/))[1] ?? '';
  firstPassword = (await program.said(/admin password +(\S+)/))[1] ?? '';
  firstKey = (await program.said(/API key +(\S+)/))[1] ?? '';
  const docs = (await program.said(/docs +(\S+)/))[1] ?? '';
  t.match(firstKey, /^mcp_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}$/);
  t.equal((await fetch(docs)).status, 200);
  t.equal((await fetch(`${operations}/readyz`)).status, 200);
});

t.test('the one curl command works as it is printed', async (t) => {
  const [, command = ''] = await program.said(/^ {2}(curl .*)$/m);
  const { status, stdout } = spawnSync('sh', ['-c', `${command} -s -w ' %{http_code}'`], {
    encoding: 'utf8',
  });
  t.equal(status, 0);
  t.match(stdout, /^\{"items":\[\],.*\} 200$/);
});

t.test('the admin logs in with a form', async (t) => {
  admin = await logIn(traffic, 'admin', firstPassword);
  const me = await call('GET', '/auth/me', admin);
  t.match(me, { status: 200, json: { username: 'admin', is_admin: true } });
});

t.test('the admin changes the password; the old one is dead', async (t) => {
  const changed = await call('POST', '/auth/change-password', admin, {
    current_password: firstPassword,
    new_password: newPassword,
  });
  t.equal(changed.status, 204);
  t.match(await call('POST', '/auth/login', undefined, { username: 'admin', password: firstPassword }), {
    status: 401,
    json: { code: 'invalid_credential' },
  });
  admin = await logIn(traffic, 'admin', newPassword);
});

t.test('the admin creates a read-only key', async (t) => {
  const made = await call('POST', '/admin/api-keys', admin, {
    name: 'readonly-service',
    description: 'Read-only access for monitoring',
    can_read: true,
    expires_at: '2099-12-31T23:59:59',
  });
  t.match(made, {
    status: 201,
    json: {
      name: 'readonly-service',
      can_create: false,
      can_read: true,
      expires_at: '2099-12-31T23:59:59.000Z',
    },
  });
  readOnlyKey = made.json.key;
});

t.test('the read-only key is refused a create', async (t) => {
  const refused = await call('POST', '/tools', readOnlyKey, tool);
  t.match(refused, { status: 403, json: { status: 403, code: 'permission_denied' } });
  t.match(refused.headers.get('www-authenticate'), /insufficient_scope.*scope="create"/);
});

t.test('the admin creates the tool', async (t) => {
  const made = await call('POST', '/tools', admin, tool);
  t.match(made, { status: 201, json: { ...tool, created_by: /^user:/ } });
  toolId = made.json.id;
});

t.test('the key lists, searches and reads it', async (t) => {
  t.match(await call('GET', '/tools', readOnlyKey), {
    status: 200,
    json: { total: 1, items: [{ id: toolId }] },
  });
  t.match(await call('GET', '/tools/search?q=weather+oreilly', readOnlyKey), {
    status: 200,
    json: { total: 0 },
  });
  t.match(await call('GET', '/tools/search?q=weather+city', readOnlyKey), {
    status: 200,
    json: { total: 1 },
  });
  const read = await call('GET', `/tools/${toolId}`, readOnlyKey);
  t.match(read, { status: 200, json: tool });
  etag = read.headers.get('etag') ?? '';
  t.ok(etag);
});

t.test('the first key updates it, once', async (t) => {
  const change = { title: 'The weather' };
  t.match(await call('PATCH', `/tools/${toolId}`, firstKey, change, { 'if-match': etag }), {
    status: 200,
    json: { title: 'The weather', description: tool.description },
  });
  t.match(await call('PATCH', `/tools/${toolId}`, firstKey, change, { 'if-match': etag }), {
    status: 412,
    json: { code: 'precondition_failed' },
  });
});

t.test('a session ends at logout', async (t) => {
  const session = await logIn(traffic, 'admin', newPassword);
  t.equal((await call('POST', '/auth/logout', session)).status, 204);
  t.match(await call('GET', '/auth/me', session), { status: 401, json: { code: 'invalid_credential' } });
  t.equal((await call('GET', '/auth/me', admin)).status, 200, 'another session goes on');
});

t.test('only the admin deletes it', async (t) => {
  t.equal((await call('DELETE', `/tools/${toolId}`, firstKey)).status, 403);
  t.equal((await call('DELETE', `/tools/${toolId}`, admin)).status, 204);
  t.match(await call('GET', `/tools/${toolId}`, readOnlyKey), {
    status: 404,
    json: { code: 'resource_not_found' },
  });
});

t.test('who asks too often is told how long to wait', async (t) => {
  const answers = await Promise.all(Array.from({ length: 80 }, () => call('GET', '/tools', readOnlyKey)));
  t.ok(answers.some(({ status }) => status === 200));
  const refused = answers.find(({ status }) => status === 429);
  if (refused === undefined) throw new Error('80 at once passed 60');
  t.match(refused, {
    status: 429,
    json: {
      code: 'rate_limited',
      detail: 'Rate limit exceeded. Please try again later.',
      retry_after: Number,
    },
  });
  t.equal(refused.headers.get('retry-after'), String(refused.json.retry_after));
  t.equal(refused.headers.get('x-ratelimit-limit'), '60');
  t.equal(refused.headers.get('x-ratelimit-remaining'), '0');
  t.equal((await call('GET', '/tools', admin)).status, 200, 'another caller has a bucket of its own');
});

t.test('the metrics tell of all of it', async (t) => {
  const metrics = await (await fetch(`${operations}/metrics`)).text();
  for (const sample of [
    /portcullis_http_requests_total\{route="\/tools",method="POST",status="201"\} 1\n/,
    /portcullis_http_requests_total\{route="\/tools\/\*",method="DELETE",status="204"\} 1\n/,
    /portcullis_authorization_denials_total\{route="\/tools"\} 1\n/,
    /portcullis_rate_limited_total\{class="read"\} (?!0\n)\d+\n/,
    /portcullis_auth_failures_total\{credential="password",reason="wrong_password"\} 1\n/,
    /portcullis_audit_sink_up\{sink="file"\} 1\n/,
    /portcullis_build_info\{version="[^"]+",node_version="v26[^"]+"\} 1\n/,
  ]) {
    t.match(metrics, sample);
  }
  t.notMatch(metrics, new RegExp(toolId), 'no id is a label');
  execFileSync('promtool', ['check', 'metrics'], { input: metrics });
});

t.test('SIGTERM ends it in order, and the audit log tells of all of it', async (t) => {
  const { exitCode } = await program.stop();
  t.equal(exitCode, 0);
  const lines = readFileSync(join(directory, 'audit.log'), 'utf8').trimEnd().split('\n');
  const records = lines.map((line) => JSON.parse(line));
  const find = (method: string, path: string, status: number) =>
    records.find(
      (record) => record.method === method && record.path === path && record.status_code === status,
    );
  for (const [method, path, status, principal] of [
    ['CLI', 'setup', 200, /^cli:/],
    ['POST', '/auth/login', 200, /^user:/],
    ['POST', '/auth/login', 401, null],
    ['POST', '/admin/api-keys', 201, /^user:/],
    ['POST', '/tools', 403, /^key:/],
    ['POST', '/tools', 201, /^user:/],
    ['PATCH', `/tools/${toolId}`, 200, /^key:/],
    ['PATCH', `/tools/${toolId}`, 412, /^key:/],
    ['DELETE', `/tools/${toolId}`, 204, /^user:/],
    ['GET', `/tools/${toolId}`, 404, /^key:/],
    ['GET', '/tools', 429, /^key:/],
  ] as const) {
    const record = find(method, path, status);
    t.match(record, { stage: 'complete', principal, process_time: Number }, `${method} ${path} ${status}`);
  }
  const created = find('POST', '/tools', 201);
  const attempt = records.find((record) => record.id === created.id && record.stage === 'attempt');
  t.ok(attempt.seq < created.seq, 'the attempt was on record first');
  const chained = records.filter(({ stage }) => stage !== 'file');
  t.strictSame(
    chained.map(({ seq }) => seq),
    chained.map((_, index) => index + 1),
    'no record is missing',
  );
  for (const secret of [firstPassword, newPassword, firstKey, readOnlyKey, admin]) {
    t.notOk(
      lines.some((line) => line.includes(secret)),
      'no secret is in the log',
    );
  }
});
