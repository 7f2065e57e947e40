/**
 * Revocation over three gateways, each a process of its own, that share a real PostgreSQL and a real Redis: how long a
 * credential that all of them know goes on after the answer to what revoked it. The figures are printed.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { type Program, programEnv, runProgram, startProgram } from '../support/program.ts';
import { startRedis, until } from '../support/redis.ts';

const postgres = await startPostgres(t);
const redis = await startRedis(t);

const adminPassword = 'a perfectly fine passphrase';
const userPassword = 'another fine passphrase';

/** The shipped gateway.yaml without limits that a test would meet. */
function shippedWithoutLimits(directory: string, stalenessMax: string): string {
  const path = join(directory, 'gateway.yaml');
  const text = readFileSync('gateway.yaml', 'utf8')
    .replaceAll(/rate: (?:\d+|"[^"]*")\/minute/g, 'rate: 1000000/minute')
    .replaceAll(/rate: "[^"]*"/g, 'rate: 1000000/minute')
    .replace(/staleness_max: \w+/, `staleness_max: ${stalenessMax}`);
  writeFileSync(path, text);
  return path;
}

interface Replica {
  readonly url: string;
  readonly operationsUrl: string;
  readonly program: Program;
}

interface Replicas {
  readonly env: NodeJS.ProcessEnv;
  readonly config: string;
  readonly all: readonly Replica[];
  readonly database: string;
  /** A call with the admin's token, to the first. */
  admin(method: string, path: string, body?: object): Promise<Record<string, unknown>>;
}

/** What all of them forward to. */
async function startUpstream(t: Test): Promise<string> {
  const server = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function startReplica(t: Test, config: string, env: NodeJS.ProcessEnv): Promise<Replica> {
  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop('SIGKILL'));
  await until(() => /is listening/.test(program.stderr()) || program.child.exitCode !== null);
  const [, url] = /"traffic":"([^"]+)"/.exec(program.stderr()) ?? [];
  const [, operationsUrl] = /"operations":"([^"]+)"/.exec(program.stderr()) ?? [];
  if (url === undefined || operationsUrl === undefined) throw new Error(program.stderr());
  return { url, operationsUrl, program };
}

async function startReplicas(t: Test, { count = 3, stalenessMax = '2m' } = {}): Promise<Replicas> {
  const directory = t.testdir();
  const database = await postgres.createDatabase();
  const env = {
    ...programEnv(directory),
    DATABASE_URL: database,
    REDIS_URL: redis.url,
    REGISTRY_URL: await startUpstream(t),
    SECRET_KEY: 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
    API_KEY_HMAC_KEY: 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
    ADMIN_PASSWORD: adminPassword,
    LOG_LEVEL: 'info',
  };
  const config = shippedWithoutLimits(directory, stalenessMax);
  const made = await runProgram(['setup', '--config', config], env);
  if (made.exitCode !== 0) throw new Error(made.stderr);
  const all = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      startReplica(t, config, { ...env, AUDIT_LOG_FILE: join(directory, `audit-${index}.log`) }),
    ),
  );
  const [{ url } = { url: '' }] = all;
  const token = (await logIn(url, 'admin', adminPassword)).access_token;
  const admin = (method: string, path: string, body?: object) => call(url, method, path, token, body);
  return { env, config, all, database, admin };
}

async function call(url: string, method: string, path: string, token: string, body?: object) {
  const response = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
}

async function logIn(url: string, username: string, password: string) {
  const body = new URLSearchParams({ username, password });
  const response = await fetch(`${url}/auth/login`, { method: 'POST', body });
  if (response.status !== 200) throw new Error(`login: ${response.status} ${await response.text()}`);
  return (await response.json()) as { access_token: string; refresh_token: string };
}

/** A new user with a session, and a new key; both may read. */
async function cast({ admin, all }: Replicas) {
  const username = `user${Math.random()}`;
  const fields = { can_read: true };
  const { id } = await admin('POST', '/admin/users', { username, password: userPassword, ...fields });
  const key = await admin('POST', '/admin/api-keys', { name: 'service', ...fields });
  const session = await logIn(all[0]?.url ?? '', username, userPassword);
  const other = await logIn(all[0]?.url ?? '', username, userPassword);
  return {
    userId: String(id),
    keyId: String(key.id),
    key: String(key.key),
    token: session.access_token,
    refreshToken: session.refresh_token,
    otherToken: other.access_token,
  };
}
type Cast = Awaited<ReturnType<typeof cast>>;

async function command({ config, env }: Replicas, ...args: string[]): Promise<void> {
  const { exitCode, stderr } = await runProgram([...args, '--config', config], env);
  if (exitCode !== 0) throw new Error(stderr);
}

type Act = (replicas: Replicas, who: Cast) => Promise<unknown>;

/** What is done, and to which credential. The command line is no replica: nobody is told but the database. */
const kinds: Readonly<Record<string, readonly ['token' | 'key', Act]>> = {
  logout: ['token', ({ all }, { token }) => call(all[0]?.url ?? '', 'POST', '/auth/logout', token)],
  'password change': [
    'token',
    ({ all }, { otherToken }) =>
      call(all[0]?.url ?? '', 'POST', '/auth/change-password', otherToken, {
        current_password: userPassword,
        new_password: adminPassword,
      }),
  ],
  'password reset': [
    'token',
    ({ admin }, { userId }) => admin('POST', `/admin/users/${userId}/reset-password`, {}),
  ],
  'user disabled': [
    'token',
    ({ admin }, { userId }) => admin('POST', `/admin/users/${userId}/toggle`, { is_active: false }),
  ],
  'user permissions': [
    'token',
    ({ admin }, { userId }) => admin('PATCH', `/admin/users/${userId}`, { can_read: false }),
  ],
  'refresh reuse': [
    'token',
    async ({ all }, { refreshToken }) => {
      const refresh = () =>
        fetch(`${all[0]?.url}/auth/refresh`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ refresh_token: refreshToken }),
        });
      if ((await refresh()).status !== 200) throw new Error('the first refresh failed');
      if ((await refresh()).status !== 401) throw new Error('the second refresh passed');
    },
  ],
  'key disabled': [
    'key',
    ({ admin }, { keyId }) => admin('POST', `/admin/api-keys/${keyId}/toggle`, { is_active: false }),
  ],
  'key rotated': ['key', ({ admin }, { keyId }) => admin('POST', `/admin/api-keys/${keyId}/rotate`)],
  'key deleted': ['key', ({ admin }, { keyId }) => admin('DELETE', `/admin/api-keys/${keyId}`)],
  'key permissions': [
    'key',
    ({ admin }, { keyId }) => admin('PATCH', `/admin/api-keys/${keyId}`, { can_read: false }),
  ],
  'command line: key disable': ['key', (replicas, { keyId }) => command(replicas, 'key', 'disable', keyId)],
  'command line: user disable': [
    'token',
    async (replicas, { userId }) => {
      const { username } = (await replicas
        .admin('GET', '/admin/users?page_size=100')
        .then(({ items }) => (items as Array<Record<string, string>>).find(({ id }) => id === userId))) ?? {
        username: '',
      };
      await command(replicas, 'user', 'disable', username ?? '');
    },
  ],
};

async function statusOf(url: string, credential: string): Promise<number> {
  const response = await fetch(`${url}/tools`, { headers: { authorization: `Bearer ${credential}` } });
  await response.text();
  return response.status;
}

/**
 * Asks a replica without pause until it has refused three times.
 * @returns when the last request that was accepted had begun
 */
async function lastAcceptedMs({ url }: Replica, credential: string): Promise<number> {
  let lastMs = Number.NEGATIVE_INFINITY;
  for (let refused = 0, rounds = 0; refused < 3; rounds += 1) {
    if (rounds > 20_000) throw new Error('it is never refused');
    const beganMs = performance.now();
    const status = await statusOf(url, credential);
    if (status === 200) lastMs = beganMs;
    refused = status === 200 ? 0 : refused + 1;
    if (status !== 200 && status !== 401 && status !== 403) throw new Error(`${status}`);
    await delay(5);
  }
  return lastMs;
}

/** Revokes while all replicas are asked. @returns for each how long it went on after the answer to the revocation, in ms */
async function revoke(t: Test, replicas: Replicas, name: string): Promise<number[]> {
  const kind = kinds[name];
  if (kind === undefined) throw new Error(name);
  const [which, act] = kind;
  const who = await cast(replicas);
  for (const { url } of replicas.all) t.equal(await statusOf(url, who[which]), 200, 'it is known');
  const asked = replicas.all.map((replica) => lastAcceptedMs(replica, who[which]));
  await delay(50);
  await act(replicas, who);
  const answeredMs = performance.now();
  const delays = (await Promise.all(asked)).map((lastMs) => Math.max(0, Math.round(lastMs - answeredMs)));
  t.comment(`${name}: ${delays.join(', ')} ms`);
  return delays;
}

/** Every kind; nothing that the first replica revoked was accepted there after its answer. */
async function revokeAll(t: Test, replicas: Replicas, names = Object.keys(kinds)): Promise<void> {
  const figures = { gateway: [] as number[], 'command line': [] as number[] };
  for (const name of names) {
    const [own = 0, ...others] = await revoke(t, replicas, name);
    if (name.startsWith('command line')) figures['command line'].push(own, ...others);
    else {
      t.equal(own, 0, `${name}: at once where it was done`);
      figures.gateway.push(...others);
    }
    t.ok(Math.max(own, ...others) <= 5_000, `${name}: within 5 s everywhere`);
  }
  for (const [by, delays] of Object.entries(figures)) {
    delays.sort((one, other) => one - other);
    const median = delays[Math.floor(delays.length / 2)];
    t.comment(`FIGURE ${t.name}: by the ${by}, elsewhere: median ${median} ms, longest ${delays.at(-1)} ms`);
  }
}

const few = ['logout', 'key disabled', 'user permissions', 'command line: key disable'];

t.test('Redis up', async (t) => {
  await revokeAll(t, await startReplicas(t));
});

t.test('Redis frozen, its connections half open', async (t) => {
  const replicas = await startReplicas(t);
  redis.freeze();
  t.teardown(() => redis.thaw());
  await revokeAll(t, replicas, few);
});

t.test('Redis killed', async (t) => {
  const replicas = await startReplicas(t);
  await redis.kill();
  t.teardown(() => redis.start());
  await revokeAll(t, replicas, few);
});

async function problemOf(url: string, credential: string) {
  const response = await fetch(`${url}/tools`, { headers: { authorization: `Bearer ${credential}` } });
  const { code } = JSON.parse(await response.text()) as { code?: string };
  return { status: response.status, code, retryAfter: response.headers.get('retry-after') };
}

async function stalenessSeconds({ operationsUrl }: Replica): Promise<number> {
  const text = await (await fetch(`${operationsUrl}/metrics`)).text();
  return Number(/^portcullis_revocation_staleness_seconds (\S+)$/m.exec(text)?.[1]);
}

/** Asks until it is refused; what was answered, and when the last request that was accepted had begun. */
async function untilRefused({ url }: Replica, credential: string) {
  const statuses = new Set<number>();
  let lastMs = 0;
  await until(async () => {
    const beganMs = performance.now();
    const status = await statusOf(url, credential);
    statuses.add(status);
    if (status === 200) lastMs = beganMs;
    return status !== 200;
  });
  return { statuses, lastMs };
}

for (const [how, away, back] of [
  ['killed', () => postgres.kill(), () => postgres.start()],
  ['frozen', async () => postgres.freeze(), async () => postgres.thaw()],
] as const) {
  t.test(`the database ${how}: what is known goes on within the bound, and no longer`, async (t) => {
    const replicas = await startReplicas(t, { count: 2, stalenessMax: '6s' });
    const { key, token } = await cast(replicas);
    const unknown = (await cast(replicas)).key;
    for (const { url } of replicas.all)
      for (const credential of [key, token]) t.equal(await statusOf(url, credential), 200);
    for (const replica of replicas.all) t.ok((await stalenessSeconds(replica)) < 5);
    const atMs = performance.now();
    await away();
    const isBack = { value: false };
    t.teardown(() => (isBack.value ? undefined : back()));
    for (const { url } of replicas.all) {
      for (const credential of [key, token]) t.equal(await statusOf(url, credential), 200, 'goes on');
    }
    t.match(await problemOf(replicas.all[0]?.url ?? '', unknown), {
      status: 503,
      code: 'store_unavailable',
      retryAfter: /^\d+$/,
    });
    const asked = replicas.all.flatMap((replica) =>
      [key, token].map((known) => untilRefused(replica, known)),
    );
    for (const { statuses, lastMs } of await Promise.all(asked)) {
      t.strictSame([...statuses].sort(), [200, 503], 'never 500, never 401');
      t.comment(`FIGURE ${t.name}: staleness_max 6 s, last accepted after ${Math.round(lastMs - atMs)} ms`);
      t.ok(lastMs - atMs >= 4_000 && lastMs - atMs <= 7_000);
    }
    t.ok((await stalenessSeconds(replicas.all[0] as Replica)) >= 6, 'the metric says it');
    await back();
    isBack.value = true;
    for (const { url } of replicas.all) {
      for (const credential of [key, token, unknown])
        await until(async () => (await statusOf(url, credential)) === 200);
    }
    const recovered = await revoke(t, replicas, 'key disabled');
    t.ok(Math.max(...recovered) <= 5_000, 'and follows again');
    for (const { program } of replicas.all) t.equal(program.child.exitCode, null);
  });
}
