/** Attacks 29 to 32 on a whole gateway over HTTP: keys and passwords that are guessed, stolen or left at a default. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Client } from 'undici';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { generateApiKey } from '../../src/credentials/api-key.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { type LoginLoad, measureLogins } from './login-load.ts';

const shipped = readFileSync('gateway.yaml', 'utf8');

/** The shipped configuration with buckets that never empty and hashes that cost little. */
const generous = shipped
  .replaceAll(/rate: [^},]*\/minute"?/g, 'rate: 100000/minute')
  .replace(
    'failures: { rate: 100000/minute }',
    'failures: { rate: 100000/minute }\n  passwords: { memory: 1MiB, iterations: 1 }',
  );

/** Every address a client names is believed. */
const behindProxy = generous.replace('listen: {', 'listen: { trusted_proxies: [127.0.0.1],');

/** The first API key of the guide this gateway grew from, which anyone can read. */
const publishedKey = 'mcp_-tn1XqqtdGub5NAzzn_qSoLrvJv9gmMwB0y-kfLDsak';

interface Seen {
  readonly status: number;
  /** Head and body, without what differs from one request to the next. */
  readonly bytes: string;
  readonly ms: number;
}

async function present(client: Client, key: string): Promise<Seen> {
  const startedMs = performance.now();
  const { statusCode, headers, body } = await client.request({
    method: 'GET',
    path: '/auth/me',
    headers: { 'x-api-key': key },
  });
  const text = await body.text();
  const ms = performance.now() - startedMs;
  const { date: _, 'x-request-id': id, ...rest } = headers;
  return {
    status: statusCode,
    bytes: JSON.stringify([statusCode, rest, text.replaceAll(String(id), '(id)')]),
    ms,
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

async function open(t: Test, yaml: string, clock?: FakeClock): Promise<TestGateway> {
  const gateway = await startTestGateway({ directory: t.testdir(), yaml, ...(clock && { clock }) });
  t.teardown(() => gateway.close());
  return gateway;
}

/** A key and what somebody may hold instead of it. */
async function failingKeys({ identity }: TestGateway): Promise<Record<string, string>> {
  const fields = { can_create: false, can_read: true, can_update: false, can_delete: false };
  const make = (name: string) => identity.keys.create({ ...fields, name }, 'user:test');
  const [good, disabled, expired] = [await make('good'), await make('disabled'), await make('expired')];
  await identity.keys.toggle(disabled.id, false);
  await identity.keys.patch(expired.id, { expires_at: '2001-01-01T00:00:00Z' });
  return {
    unknown: generateApiKey('mcp_').text,
    'one character off': oneCharacterOff(good.key),
    disabled: disabled.key,
    expired: expired.key,
  };
}

/** Another character in the middle of the secret, and the checksum made right, as an attacker would. */
function oneCharacterOff(key: string): string {
  const at = 'mcp_'.length + 12 + 1 + 16;
  const changed = key[at] === 'a' ? 'b' : 'a';
  const secret = `${key.slice(17, at)}${changed}${key.slice(at + 1, 49)}`;
  // The generator draws six bits a character; handing it the digits gives this very secret and its checksum.
  const digits = [...secret].map((digit) =>
    '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'.indexOf(digit),
  );
  return generateApiKey('mcp_', () => Uint8Array.from(digits), key.slice(4, 16)).text;
}

t.test(
  'attack 29: unknown, one character off, disabled and expired keys answer the same bytes',
  async (t) => {
    const gateway = await open(t, generous);
    const client = new Client(gateway.trafficUrl);
    t.teardown(() => client.close());
    const keys = await failingKeys(gateway);
    const typo = `${gateway.first.key.key.slice(0, -8)}0${gateway.first.key.key.slice(-7)}`;
    const seen: Record<string, string> = {};
    for (const [name, key] of Object.entries({
      ...keys,
      typo,
      noise: 'noise',
      [publishedKey]: publishedKey,
    })) {
      const { status, bytes } = await present(client, key);
      t.equal(status, 401, name);
      seen[name] = bytes;
    }
    t.equal(new Set(Object.values(seen)).size, 1, JSON.stringify(seen, undefined, 1));
    const reasons = (await gateway.audit()).map(({ reason }) => reason);
    t.same(reasons.slice(0, 4), ['unknown_key', 'wrong_secret', 'disabled', 'expired'], 'operators are told');
  },
);

t.test('attack 29: medians of 1,000 tries are not to be told apart', async (t) => {
  const gateway = await open(t, generous);
  const client = new Client(gateway.trafficUrl);
  t.teardown(() => client.close());
  const keys = Object.entries(await failingKeys(gateway));
  const times = new Map(keys.map(([name]) => [name, [] as number[]]));
  for (let round = -100; round < 1_000; round += 1) {
    // Interleaved, each round in another order, so that whatever else this machine does falls on all alike.
    for (let index = 0; index < keys.length; index += 1) {
      const [name, key] = keys[(index + Math.abs(round)) % keys.length] ?? ['', ''];
      const { ms } = await present(client, key);
      if (round >= 0) times.get(name)?.push(ms);
    }
  }
  const medians = [...times].map(([name, values]) => [name, median(values)] as const);
  const all = median([...times.values()].flat());
  for (const [name, ms] of medians) {
    t.comment(`${name}: median ${ms.toFixed(3)} ms, ${(ms / all).toFixed(3)} of all`);
    t.ok(ms / all > 0.75 && ms / all < 1.33, `${name} takes ${(ms / all).toFixed(3)} of the median of all`);
  }
});

t.test('attack 29: no full key is in the log or a metric', async (t) => {
  const gateway = await open(t, generous);
  const client = new Client(gateway.trafficUrl);
  t.teardown(() => client.close());
  const keys = Object.values(await failingKeys(gateway));
  for (const key of keys) await present(client, key);
  const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  const log = JSON.stringify(await gateway.audit());
  for (const key of keys) t.notOk(log.includes(key.slice(17)) || metrics.includes(key.slice(4)));
});

for (const [what, secret] of [
  ['the default of a guide', 'your-super-secret-key-change-this'],
  ['31 bytes', 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUe'],
  ['the published sample key', publishedKey],
  ['the secret of a tutorial', '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7'],
] as const) {
  t.test(`attack 30: a SECRET_KEY that is ${what} is refused, and not repeated`, async (t) => {
    const parse = () => parseConfig(shipped, { file: 'gateway.yaml', env: { SECRET_KEY: secret } });
    try {
      parse();
      t.fail('it was taken');
    } catch (error) {
      t.ok(error instanceof ConfigError);
      t.match(String(error instanceof ConfigError && error.format()), /auth\.tokens\.secrets\.0: is /);
      t.notOk(String(error instanceof ConfigError && error.format()).includes(secret));
    }
  });
}

t.test('attack 30: the program does not start with a default SECRET_KEY', async (t) => {
  const env = { ...programEnv(t.testdir()), SECRET_KEY: 'your-super-secret-key-change-this' };
  const { exitCode, stderr } = await runProgram(['start'], env);
  t.equal(exitCode, 1);
  t.match(stderr, /is a published default that anyone can try/);
});

t.test('attack 30: admin/admin is refused, as a password to set and as one to try', async (t) => {
  const env = { ...programEnv(t.testdir()), ADMIN_PASSWORD: 'admin' };
  t.equal((await runProgram(['setup'], env)).exitCode, 1);
  const gateway = await open(t, generous);
  for (const password of ['admin', 'admin123', 'password']) {
    await t.rejects(logIn(gateway.trafficUrl, 'admin', password), /login answered 401/);
  }
});

/** How many seconds a gateway of one process has for it: none, the next request is refused. */
t.test('attack 31: what is revoked is dead with the next request', async (t) => {
  const gateway = await open(t, generous);
  const status = async (credential: string, path = '/auth/me') =>
    (await fetch(gateway.trafficUrl + path, { headers: { authorization: `Bearer ${credential}` } })).status;
  const make = async () => {
    const made = await gateway.admin('POST', '/admin/api-keys', { name: 'victim', can_read: true });
    const { id, key } = (await made.json()) as { id: string; key: string };
    const body = JSON.stringify({ api_key: key });
    const headers = { 'content-type': 'application/json' };
    const login = await fetch(`${gateway.trafficUrl}/auth/api-key-login`, { method: 'POST', body, headers });
    const { access_token: token } = (await login.json()) as { access_token: string };
    t.same([await status(key), await status(token)], [200, 200]);
    return { id, key, token };
  };
  for (const [method, action] of [
    ['POST', '/toggle'],
    ['POST', '/rotate'],
    ['DELETE', ''],
  ] as const) {
    const { id, key, token } = await make();
    await gateway.admin(method, `/admin/api-keys/${id}${action}`);
    t.same([await status(key), await status(token)], [401, 401], `${method} ${action}`);
  }
  const { id, key, token } = await make();
  const both = async () => [await status(key, '/tools'), await status(token, '/tools')];
  t.same(await both(), [502, 502], 'let through, to a registry that is not there');
  await gateway.admin('PATCH', `/admin/api-keys/${id}`, { can_read: false });
  t.same(await both(), [403, 403], 'a permission that was taken away');
  const user = { username: 'bob', password: 'a perfectly fine passphrase' };
  const made = (await (await gateway.admin('POST', '/admin/users', user)).json()) as { id: string };
  for (const action of ['toggle', 'reset-password']) {
    await gateway.admin('POST', `/admin/users/${made.id}/toggle`, { is_active: true });
    await gateway.identity.users.resetPassword(made.id, user.password);
    const session = await logIn(gateway.trafficUrl, user.username, user.password);
    t.equal(await status(session), 200);
    await gateway.admin('POST', `/admin/users/${made.id}/${action}`);
    t.equal(await status(session), 401, action);
  }
});

/** Logs in as if from `address`. */
async function loginFrom(gateway: TestGateway, address: string, username: string, password: string) {
  const response = await fetch(`${gateway.trafficUrl}/auth/login`, {
    method: 'POST',
    headers: { 'x-forwarded-for': address },
    body: new URLSearchParams({ username, password }),
  });
  return {
    status: response.status,
    retryAfter: Number(response.headers.get('retry-after')),
    text: (await response.text()).replace(/"request_id":"[^"]*"/, ''),
  };
}

t.test('attack 32: unknown user and wrong password answer the same bytes', async (t) => {
  const gateway = await open(t, behindProxy);
  const wrong = await loginFrom(gateway, '192.0.2.1', 'admin', 'wrong');
  t.equal(wrong.status, 401);
  t.same(await loginFrom(gateway, '192.0.2.2', 'nobody', 'wrong'), wrong);
});

t.test('attack 32: ten addresses try the admin’s password; the admin is not kept out', async (t) => {
  const clock = new FakeClock();
  const gateway = await open(t, behindProxy, clock);
  const { password } = gateway.first;
  const home = '192.0.2.1';
  await gateway.admin('GET', '/admin/users');
  const cafe = '198.51.100.7';
  t.equal((await loginFrom(gateway, home, 'admin', password)).status, 200);
  const statuses: number[] = [];
  for (let host = 1; host <= 10; host += 1) {
    for (let count = 0; count < 15; count += 1) {
      statuses.push((await loginFrom(gateway, `203.0.113.${host}`, 'admin', 'wrong')).status);
    }
  }
  const tried = statuses.filter((status) => status === 401).length;
  t.comment(`150 tries from 10 addresses: ${tried} passwords looked at, the rest 429`);
  t.equal(tried, 50, 'five addresses emptied their buckets, and with them the name’s');
  t.equal((await loginFrom(gateway, home, 'admin', password)).status, 200, 'at once where known');
  const early = await loginFrom(gateway, cafe, 'admin', password);
  t.match(early, { status: 429, retryAfter: 30 });
  clock.nowMs += 30_000;
  t.equal((await loginFrom(gateway, cafe, 'admin', password)).status, 200, 'after one wait anywhere');
  t.equal(
    (await loginFrom(gateway, '203.0.113.1', 'admin', password)).status,
    429,
    'but not where it was guessed',
  );
  const users = (await (await gateway.admin('GET', '/admin/users')).json()) as { items: object[] };
  t.match(users.items, [
    { username: 'admin', locked_until: '2030-01-01T00:01:00.000Z', locked_addresses: 5 },
  ]);
  const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  t.match(metrics, /portcullis_incidents_total\{kind="login_spread"\} 1\n/);
  t.match(metrics, /portcullis_incidents_total\{kind="login_locked"\} 4\n/);
  t.match(metrics, /portcullis_auth_failures_total\{credential="password",reason="locked"\} 26\n/);
});

/** A machine that is busy with something else can only make it slower, so the best of a few counts. */
async function bestLoad(test: Test): Promise<LoginLoad> {
  const directory = test.testdir({ 0: {}, 1: {}, 2: {} });
  let best = await measureLogins(join(directory, '0'));
  for (let attempt = 1; attempt < 3 && best.delayP99Ms >= 150; attempt += 1) {
    const next = await measureLogins(join(directory, String(attempt)));
    if (next.delayP99Ms < best.delayP99Ms) best = next;
  }
  return best;
}

t.test('attack 32: a hundred logins at once stay within two hashes’ memory and delay nobody', async (t) => {
  const { counts, restBytes, peakBytes, delayP99Ms, delayMaxMs, healthP99Ms } = await bestLoad(t);
  const mib = (bytes: number) => (bytes / 1024 ** 2).toFixed(1);
  t.comment(`answers: ${JSON.stringify(counts)}`);
  t.comment(`memory: ${mib(restBytes)} MiB at rest, ${mib(peakBytes - restBytes)} MiB more at most`);
  t.comment(`event-loop delay: p99 ${delayP99Ms.toFixed(1)} ms, max ${delayMaxMs.toFixed(1)} ms`);
  t.comment(`/health meanwhile: p99 ${healthP99Ms.toFixed(1)} ms`);
  t.ok((counts['401'] ?? 0) >= 3 * 34, 'two hash and 32 wait, each of three times');
  t.same(Object.keys(counts).sort(), ['401', '503']);
  t.ok(
    peakBytes - restBytes < (2 * 19 + 80) * 1024 ** 2,
    'two hashes of 19 MiB, and a wide margin for all else',
  );
  t.ok(delayP99Ms < 200, 'the event loop is free');
});

t.test(
  'a refresh token used again is an incident: on record with its session, counted, and warned of',
  async (t) => {
    const directory = t.testdir();
    const env = { ...programEnv(directory), LOG_LEVEL: 'warn' };
    const { password } = JSON.parse((await runProgram(['setup', '--json'], env)).stdout);
    const program = startProgram(['start'], { ...env, LOG_LEVEL: 'info' });
    t.teardown(() => program.stop('SIGKILL'));
    const addresses = await new Promise<{ traffic: string; operations: string }>((resolve) => {
      program.child.stderr?.on('data', () => {
        const line = program
          .stderr()
          .split('\n')
          .find((text) => text.includes('is listening'));
        if (line !== undefined) resolve(JSON.parse(line));
      });
    });
    const post = async (path: string, body: object) => {
      const init = {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      };
      const response = await fetch(addresses.traffic + path, init);
      return { status: response.status, json: (await response.json()) as { refresh_token: string } };
    };
    const { refresh_token } = (await post('/auth/login', { username: 'admin', password })).json;
    t.equal((await post('/auth/refresh', { refresh_token })).status, 200);
    t.match(await post('/auth/refresh', { refresh_token }), {
      status: 401,
      json: { code: 'invalid_credential' },
    });
    const metrics = await (await fetch(`${addresses.operations}/metrics`)).text();
    t.match(metrics, /portcullis_incidents_total\{kind="refresh_reuse"\} 1\n/);
    const { stderr } = await program.stop();
    const records = readFileSync(join(directory, 'audit.log'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const login = records.find(({ path, status_code }) => path === '/auth/login' && status_code === 200);
    const record = records.find(({ reason }) => reason === 'reused');
    t.match(record, {
      path: '/auth/refresh',
      stage: 'complete',
      decision: 'deny',
      status_code: 401,
      code: 'invalid_credential',
      principal: /^user:/,
      credential_id: login.credential_id,
    });
    t.match(
      records.find(({ event }) => event === 'refresh_reuse'),
      { stage: 'event', request_id: record.request_id, principal: record.principal },
      'and a record of its own tells of the incident',
    );
    const warning = stderr.split('\n').find((line) => line.includes('"incident"'));
    t.match(JSON.parse(warning ?? '{}'), {
      level: 'warn',
      incident: 'refresh_reuse',
      request_id: record.request_id,
      subject: record.principal,
      credential_id: record.credential_id,
    });
    t.notOk(stderr.includes(refresh_token) || JSON.stringify(records).includes(refresh_token));
  },
);
