/** `explain` says what a request would meet with: the same as the request itself, and nothing is left of the asking. */

import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import Sqlite from 'better-sqlite3';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { explain } from '../../src/commands/explain.ts';
import type { Terminal } from '../../src/commands/terminal.ts';
import { logIn, startTestGateway } from '../support/gateway.ts';
import { keySet, signed, type TestKey, testKey } from '../support/issuer.ts';
import { programEnv, runProgram } from '../support/program.ts';
import { sendRaw } from '../support/raw-client.ts';

/** Rates that no test uses up: what both sides count is not shared here. Nobody is behind it. */
const yaml = `version: 1
listen: { port: 0, trusted_proxies: [127.0.0.1] }
operations: { port: 0 }
database: "\${DATABASE_URL}"
auth:
  failures: { rate: 1000000/second }
  passwords: { memory: 1MiB, iterations: 1 }
  issuers:
    - name: corp
      issuer: https://corp.example
      audience: tools
      algorithms: [EdDSA]
      jwks_file: "\${JWKS_FILE}"
      permissions: { grant: [read], claims: [{ claim: role, values: { boss: admin } }] }
rate_limits:
  classes:
    public: { rate: 1000000/second, partition: address }
    read: { rate: 1000000/second, partition: user+route }
    write: { rate: 1000000/second }
    admin: { rate: 1000000/second }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { nobody: { url: "http://127.0.0.1:9", breaker: { failures: 0 } } }
routes:
  - { path: /tools, methods: [GET, HEAD], upstream: nobody, permission: read, class: read }
  - { path: /tools, methods: [POST], upstream: nobody, permission: create, class: write, inspect: json }
  - { path: /tools/*, methods: [GET, HEAD], upstream: nobody, permission: read, class: read, cost: 5 }
  - { path: /tools/*, methods: [PUT, PATCH], upstream: nobody, permission: update, class: write, inspect: json }
  - { path: /tools/*, methods: [DELETE], upstream: nobody, permission: delete, class: write }
  - { path: /secret/*, upstream: nobody, permission: admin, class: admin }
  - { path: /mine/*, upstream: nobody, permission: any, class: read }
  - { path: /open/*, upstream: nobody, permission: none, class: public }
`;

interface Said {
  readonly decision: string;
  readonly status: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly client_address: string;
  readonly route: { readonly path: string } | null;
  readonly principal: { readonly subject: string } | null;
  readonly destination: { readonly kind: string } | null;
}

/** A gateway with callers of every kind, and the command that explains it. */
async function start(t: Test) {
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml);
  const corp = testKey('EdDSA');
  const keys = join(directory, 'corp.json');
  writeFileSync(keys, keySet(corp));
  const gateway = await startTestGateway({ directory, yaml, env: { JWKS_FILE: keys } });
  t.teardown(() => gateway.close());
  const make = async (path: string, body: object) =>
    (await (await gateway.admin('POST', path, body)).json()) as { id: string; key: string };
  const password = 'a perfectly fine passphrase';
  const ada = await make('/admin/users', { username: 'ada', password, can_read: true, can_update: true });
  const gone = await make('/admin/users', { username: 'gone', password, can_read: true });
  const reader = await make('/admin/api-keys', { name: 'reader', can_read: true, owner: ada.id });
  const orphan = await make('/admin/api-keys', { name: 'orphan', can_read: true, owner: gone.id });
  const disabled = await make('/admin/api-keys', { name: 'disabled', can_read: true });
  const deleted = await make('/admin/api-keys', { name: 'deleted', can_read: true });
  const ended = await logIn(gateway.trafficUrl, 'gone', password);
  await gateway.admin('POST', `/admin/users/${gone.id}/toggle`, { is_active: false });
  await gateway.admin('POST', `/admin/api-keys/${disabled.id}/toggle`, { is_active: false });
  await gateway.admin('DELETE', `/admin/api-keys/${deleted.id}`);
  const { key } = gateway.first.key;
  const admin = await logIn(gateway.trafficUrl, 'admin', gateway.first.password);
  const credentials: ReadonlyArray<{ readonly key?: string; readonly token?: string }> = [
    {},
    { key },
    { token: key },
    { key: reader.key },
    { key: orphan.key },
    { key: disabled.key },
    { key: deleted.key },
    { key: `${key.slice(0, -1)}!` },
    { key: key.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a')) },
    { token: admin },
    { token: await logIn(gateway.trafficUrl, 'ada', password) },
    { token: external(corp) },
    { token: external(corp, { role: 'boss' }) },
    { token: external(corp, { exp: 1 }) },
    { token: external(testKey('EdDSA')) },
    { token: ended },
    { token: 'a.b.c' },
    { token: 'nonsense' },
    { key, token: admin },
  ];
  const env = {
    PORT: '0',
    DATABASE_URL: `sqlite:${join(directory, 'portcullis.db')}`,
    AUDIT_LOG_FILE: gateway.auditPath,
    JWKS_FILE: keys,
  };
  return { gateway, credentials, config, env, reader };
}

/** A token of another issuer. */
function external(key: TestKey, claims: object = {}): string {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: 'https://corp.example',
    aud: 'tools',
    sub: 'bob',
    iat: now,
    exp: now + 3_600,
    ...claims,
  };
  return signed({ alg: 'EdDSA', kid: key.kid, typ: 'JWT' }, payload, key);
}

/** What the command prints, as the terminal of someone who keeps secrets in the environment. */
async function said(
  config: string,
  env: Readonly<Record<string, string>>,
  { method, target, from, key, token }: Drawn,
): Promise<Said> {
  const printed: string[] = [];
  const terminal: Terminal = {
    env: {
      ...env,
      ...(key !== undefined && { EXPLAIN_KEY: key }),
      ...(token !== undefined && { EXPLAIN_TOKEN: token }),
    },
    systemUser: 'test',
    hostname: 'test',
    pid: 1,
    version: '0.0.0-test',
    nodeVersion: process.version,
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    print: (line) => printed.push(line),
    complain: (line) => t.fail(line),
    readLine: () => Promise.reject(new Error('nothing is typed here')),
  };
  await explain(terminal, method, target, { config, from, json: true });
  return JSON.parse(printed.join('')) as Said;
}

interface Drawn {
  readonly method: string;
  readonly target: string;
  readonly from: string;
  readonly key?: string;
  readonly token?: string;
}

const methods = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'QUERY',
  'TRACE',
  'PURGE',
  'get',
  'G(T',
];
const ordinary = ['/tools', '/tools/a?q=1', '/secret/x', '/mine/x', '/open/x', '/admin/users', '/auth/me'];
const targets = [
  '/tools',
  '/tools/',
  '/tools/a',
  '/tools/a%20b?q=1&token=x',
  '/tools?x=/health',
  '/Tools',
  '/%74ools',
  '/tools/../admin/users',
  '/tools/%2e%2e/admin',
  '//evil.example/admin',
  '/tools;x',
  '/tools#x',
  '*',
  'http://evil.example/tools',
  'tools',
  '/secret/x',
  '/mine/x',
  '/open/x',
  '/open',
  '/nowhere',
  '/health',
  '/docs',
  '/openapi.json',
  '/.well-known/jwks.json',
  '/auth/me',
  '/auth/login',
  '/auth/logn',
  '/admin/users',
  '/admin/users/nobody',
  '/admin/users/nobody/toggle',
  '/admin/api-keys?idle=true',
  '/é',
];

t.test('property: what is explained is what happens', async (t) => {
  const { gateway, credentials, config, env } = await start(t);
  const drawn = fc.record({
    method: fc.oneof(fc.constantFrom('GET', 'POST', 'DELETE'), fc.constantFrom(...methods)),
    target: fc.oneof(fc.constantFrom(...ordinary), fc.constantFrom(...targets)),
    from: fc.constantFrom('192.0.2.1', '2001:db8::1'),
    credential: fc.oneof(fc.constantFrom(...credentials.slice(0, 4)), fc.constantFrom(...credentials)),
  });
  const rows = fc.sample(drawn, { numRuns: 120 });
  const decisions = new Map<string, number>();
  const table: Array<{ readonly asked: Drawn; readonly explained: Said; readonly requestId: string }> = [];
  for (const { credential, ...row } of rows) {
    const asked = { ...row, ...credential };
    const explained = await said(config, env, asked);
    table.push({ asked, explained, requestId: await send(gateway.trafficUrl, asked) });
    const what = explained.code ?? explained.decision;
    decisions.set(what, (decisions.get(what) ?? 0) + 1);
  }
  const records = await gateway.audit();
  for (const { asked, explained, requestId } of table) {
    const name = `${asked.method} ${asked.target} ${JSON.stringify(explained)}`;
    const record = records.find((one) => one.request_id === requestId && one.stage === 'complete');
    t.strictSame(happened(record), expected(explained, record), name);
    // What never became a request has no forwarded address.
    if (explained.code !== 'malformed_request') t.equal(record?.client_ip, explained.client_address, name);
    for (const secret of [asked.key, asked.token]) {
      t.notOk(secret !== undefined && JSON.stringify(explained).includes(secret), 'no credential is printed');
    }
  }
  t.comment(Object.fromEntries(decisions));
  t.ok(decisions.size >= 6, 'many different answers were met with');
});

/** Sends it as a trusted proxy would pass it on; the request id of its answer. */
async function send(url: string, { method, target, from, key, token }: Drawn): Promise<string> {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: localhost',
    'Connection: close',
    `X-Forwarded-For: ${from}`,
    ...(key === undefined ? [] : [`X-API-Key: ${key}`]),
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ];
  const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`).toString('latin1');
  const { headers, text } = await sendRaw(url, bytes);
  const [requestId] = headers.get('x-request-id') ?? [];
  if (requestId === undefined) throw new Error(`no answer to ${method} ${target}: ${text}`);
  return requestId;
}

/** What the audit log says of it. */
function happened(record: Record<string, unknown> | undefined) {
  const { route, principal, status_code, code, reason, decision } = record ?? {};
  return { route, principal, status_code, code, reason, decision };
}

/** What it must say. Of what was allowed only the upstream that is not there, or the endpoint's own answer, is open. */
function expected(explained: Said, record: Record<string, unknown> | undefined) {
  const { route, principal, decision, status, code, reason, destination } = explained;
  const whose = { route: route?.path ?? null, principal: principal?.subject || null };
  if (decision !== 'allow') return { ...whose, status_code: status, code, reason, decision };
  if (destination?.kind === 'upstream') {
    return { ...whose, status_code: 502, code: 'upstream_unreachable', reason: null, decision: 'error' };
  }
  const { status_code, code: own } = record ?? {};
  const answers = [null, 'resource_not_found', 'validation_failed', 'upstream_unreachable'];
  if (!answers.includes((own ?? null) as string | null)) throw new Error(`allowed, and then ${own}`);
  return { ...whose, status_code, code: own, reason: null, decision: record?.decision };
}

t.test('nothing is left of the asking: no use of a key, no record, no unit', async (t) => {
  const { gateway, config, env, reader } = await start(t);
  const asked = { method: 'GET', target: '/tools', from: '192.0.2.1', key: reader.key };
  const before = (await gateway.audit()).length;
  for (let count = 0; count < 3; count += 1) {
    const { decision, bucket } = (await said(config, env, asked)) as Said & { bucket: { remaining: number } };
    t.match({ decision, bucket }, { decision: 'allow', bucket: { remaining: 999_999 } });
    await said(config, env, { ...asked, key: `${reader.key}x` });
  }
  t.equal((await gateway.identity.keys.get(reader.id)).last_used_at, null);
  t.equal((await gateway.audit()).length, before);
});

t.test('the asking changes nothing in the database and makes nothing beside it', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  const path = join(directory, 'data', 'portcullis.db');
  const made = JSON.parse((await runProgram(['setup', '--json'], env)).stdout);
  const database = new Sqlite(path);
  t.teardown(() => database.close());
  const names = () => readdirSync(join(directory, 'data')).filter((name) => !/-(?:wal|shm)$/.test(name));
  const state = () => {
    const tables = database.prepare("select name from sqlite_schema where type = 'table'").pluck().all();
    const rows = (tables as string[]).map((table) => database.prepare(`select * from "${table}"`).all());
    return { files: names(), tables, rows };
  };
  const before = state();
  const asked = await runProgram(['explain', 'GET', '/tools', '--key-stdin'], env, made.key);
  t.match(asked.stdout, /\nallow\n$/);
  t.same(state(), before, 'no assertion key, no secret, no row');
  database.exec("delete from portcullis_migration where name = '0006_truncate'");
  const older = state();
  const refused = await runProgram(['explain', 'GET', '/tools'], env);
  t.equal(refused.exitCode, 1);
  t.equal(
    refused.stderr,
    'portcullis: this database is not up to date (migration 0006_truncate is missing), and this command changes ' +
      'nothing: `portcullis start` brings it up to date\n',
  );
  t.same(state(), older, 'and it was not brought up to date');
  database.exec("insert into portcullis_migration values ('0006_truncate', ''), ('0999_future', '')");
  t.match(
    (await runProgram(['explain', 'GET', '/tools'], env)).stderr,
    /made by a newer version .*0999_future/,
  );
});

t.test('an endpoint is explained, not asked: the session that would log out goes on', async (t) => {
  const { gateway, config, env } = await start(t);
  const token = await logIn(gateway.trafficUrl, 'admin', gateway.first.password);
  const asked = { method: 'POST', target: '/auth/logout', from: '192.0.2.1', token };
  t.match(await said(config, env, asked), { decision: 'allow', destination: { kind: 'local' } });
  const { status } = await fetch(`${gateway.trafficUrl}/auth/me`, {
    headers: { authorization: `Bearer ${token}` },
  });
  t.equal(status, 200);
});

t.test('the key of a user is shown as whose it is, with the bucket that it shares', async (t) => {
  const { config, env, reader } = await start(t);
  t.match(
    await said(config, env, { method: 'GET', target: '/tools/x', from: '192.0.2.1', key: reader.key }),
    {
      principal: { subject: `key:${reader.id}`, owner: /^user:/, permissions: ['read'] },
      permission: { needed: 'read', granted: true },
      bucket: {
        class: 'read',
        partition: 'user+route',
        key: /^\/tools\/\* user:\w+$/,
        cost: 5,
        admitted: true,
      },
    },
  );
});

t.test('as it is typed: a line a step, and secrets by standard input or the environment', async (t) => {
  const env = programEnv(t.testdir());
  const made = JSON.parse((await runProgram(['setup', '--json'], env)).stdout);
  const lines = [
    'GET /tools/search?q=a from 127.0.0.1',
    'route       /tools/* (permission read, class read)',
    `principal   key:${made.id}, may create, read, update`,
    'permission  read: granted',
    `bucket      read by principal (key:${made.id}): takes 1, 59 of 60 left after it`,
    '            (a full one: what running gateways have counted is not looked up)',
    'upstream    registry',
    'allow',
  ];
  const typed = await runProgram(
    ['explain', 'GET', '/tools/search?q=a', '--key-stdin'],
    env,
    `${made.key}\n`,
  );
  t.same([typed.exitCode, typed.stdout.trimEnd().split('\n'), typed.stderr], [0, lines, '']);
  const denied = await runProgram(['explain', 'DELETE', '/tools/x', '--from', '::1'], {
    ...env,
    EXPLAIN_KEY: made.key,
  });
  const login = await runProgram(['explain', 'POST', '/auth/login'], env);
  t.match(login.stdout, /\npermission {2}none is needed\n/);
  t.match(login.stdout, /\ndeny: 400 malformed_body: .*\n\(explained without a body: .*\)\n$/);
  t.match(denied.stdout, /^DELETE \/tools\/x from ::1\n/);
  t.match(denied.stdout, /\npermission {2}delete: not granted\ndeny: 403 permission_denied: /);
});

t.test('a secret in an argument is warned of', async (t) => {
  const env = programEnv(t.testdir());
  const made = JSON.parse((await runProgram(['setup', '--json'], env)).stdout);
  const { stdout, stderr } = await runProgram(['explain', 'GET', '/tools', '--key', made.key], env);
  t.match(
    stderr,
    /^portcullis: warning: --key shows the key to everyone.*--key-stdin or EXPLAIN_KEY does not\n$/,
  );
  t.match(stdout, /\nallow\n$/);
  t.notOk((stdout + stderr).includes(made.key));
});

t.test('what cannot be asked is told, and makes no database', async (t) => {
  const env = programEnv(t.testdir());
  for (const [args, said] of [
    [['GET', '/a b'], /TARGET: must be one word; in a target, a space is written %20/],
    [['GET', '/a\r\nX-API-Key: x'], /TARGET: must be one word/],
    [['GET /x', '/'], /METHOD: must be one word/],
    [['', '/'], /METHOD: must be one word/],
    [['GET', '/', '--from', 'localhost'], /--from: write an IP address/],
    [['GET', '/', '--key', 'a\r\nb'], /the credential has a character that no credential has/],
    [['GET', '/', '--key-stdin', '--token-stdin'], /standard input holds one secret/],
    [['GET', '/'], /there is no database at/],
  ] as const) {
    const { exitCode, stderr } = await runProgram(['explain', ...args], env, 'x\n');
    t.equal(exitCode, 1, args.join(' '));
    t.match(stderr, said);
    t.notMatch(stderr, /\n +at /);
  }
});
