/** Gateway and registry as programs over one real PostgreSQL, which dies, hangs and comes back. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { startRedis } from '../support/redis.ts';

const server = await startPostgres(t);

/** A gateway's own lock, as `pg_locks` shows it. */
const holders = `select pid from pg_locks where locktype = 'advisory' and classid = ${0x706f7274} and objid = 1 and granted`;

async function environment(t: Test, database?: string) {
  const url = database ?? (await server.createDatabase());
  return {
    ...programEnv(t.testdir()),
    DATABASE_URL: url,
    REGISTRY_DATABASE_URL: url,
    SECRET_KEY: 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
    API_KEY_HMAC_KEY: 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
    REDIS_URL: '',
    REGISTRY_URL: 'http://127.0.0.1:9',
    REQUESTS_PER_MINUTE: '100000',
    LOG_LEVEL: 'info',
  };
}

/** Both programs, as `npm start` runs them. */
async function startBoth(t: Test) {
  const env = await environment(t);
  const program = startProgram(['quickstart'], env);
  t.teardown(() => program.stop('SIGKILL'));
  const [, traffic = ''] = await program.said(/traffic {2}(\S+)/);
  const [, registry = ''] = await program.said(/registry (\S+)/);
  const [, key = ''] = await program.said(/Bearer (mcp_\w+)/);
  const call = (method: string, path: string, body?: unknown) =>
    fetch(traffic + path, {
      method,
      headers: { 'x-api-key': key, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  return { env, program, traffic, registry, call };
}

async function startGateway(t: Test, env: NodeJS.ProcessEnv) {
  const program = startProgram(['start'], env);
  t.teardown(() => program.stop('SIGKILL'));
  await until(() => /is listening/.test(program.stderr()));
  return program;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error('it did not happen within 30 s');
    await delay(50);
  }
}

async function lockHolders(url: string): Promise<number[]> {
  const client = await server.connect(url);
  const { rows } = await client.query<{ pid: number }>(
    `${holders} and database = (select oid from pg_database where datname = current_database())`,
  );
  await client.end();
  return rows.map(({ pid }) => pid);
}

const tool = { name: 'get_weather', description: 'The forecast of a city', inputSchema: { type: 'object' } };

/** The gateway's own problem, or the registry's. */
async function isUnavailable(t: Test, response: Response): Promise<void> {
  const { code, retry_after } = (await response.json()) as Record<string, unknown>;
  t.match(
    { status: response.status, code, retry_after, header: Number(response.headers.get('retry-after')) >= 1 },
    { status: 503, code: 'store_unavailable', retry_after: 1, header: true },
  );
}

t.test('both programs share one database, which dies and comes back under them', async (t) => {
  const { call, registry, program, env } = await startBoth(t);
  t.equal((await call('POST', '/tools', tool)).status, 201);
  t.equal((await call('POST', '/tools', tool)).status, 409);
  const found = (await (await call('GET', '/tools/search?q=city+fore')).json()) as { total: number };
  t.equal(found.total, 1);
  const id = program.child.pid;

  await server.kill();
  for (let round = 0; round < 5; round += 1) {
    await isUnavailable(t, await call('GET', '/tools'));
    // Past the gateway only its health may be asked for, which asks the database.
    await isUnavailable(t, await fetch(`${registry}/health`));
  }
  t.equal((await fetch(`${registry}/openapi.json`)).status, 200, 'what needs no database goes on');

  await server.start();
  let last = '';
  await until(async () => {
    const response = await call('GET', '/tools');
    last = `${response.status} ${await response.text()}`;
    return response.status === 200;
  }).catch((error: unknown) => t.fail(`${error}: ${last}\n${program.stderr().slice(-3000)}`));
  await until(async () => (await fetch(`${registry}/health`)).status === 200);
  await until(async () => (await lockHolders(env.DATABASE_URL)).length === 1);
  t.equal(program.child.pid, id);
  t.equal(program.child.exitCode, null, 'neither program has ended');
  const refused = await runProgram(['start'], await environment(t, env.DATABASE_URL));
  t.match(refused.stderr, /another gateway runs on this database/, 'the lock is held again');
  t.equal((await program.stop()).exitCode, 0);
});

t.test('a server that hangs is 503 within a bounded time, and well again afterwards', async (t) => {
  const { call, registry, program } = await startBoth(t);
  t.equal((await call('GET', '/tools')).status, 200);
  server.freeze();
  t.teardown(() => server.thaw());
  const startedMs = performance.now();
  const requests = [
    ...Array.from({ length: 30 }, () => call('GET', '/tools')),
    ...Array.from({ length: 30 }, () => fetch(`${registry}/health`)),
  ];
  for (const response of await Promise.all(requests)) await isUnavailable(t, response);
  t.ok(performance.now() - startedMs < 30_000, 'they did not hang');
  server.thaw();
  await until(async () => (await call('GET', '/tools')).status === 200);
  await until(async () => (await fetch(`${registry}/health`)).status === 200);
  t.equal((await program.stop()).exitCode, 0);
});

t.test('it stops in order while its database hangs', async (t) => {
  const { call, program } = await startBoth(t);
  t.equal((await call('GET', '/tools')).status, 200);
  server.freeze();
  t.teardown(() => server.thaw());
  t.equal((await program.stop()).exitCode, 0);
});

t.test(
  'a second gateway on a shared database is refused and told why; the first is not harmed',
  async (t) => {
    const env = await environment(t);
    const first = await startGateway(t, env);
    const second = await runProgram(['start'], env);
    t.equal(second.exitCode, 1);
    t.match(
      second.stderr,
      /another gateway runs on this database .*Redis.*serves one gateway.*REDIS_URL.*DATABASE_URL/,
    );
    const made = await runProgram(['key', 'create', '--name', 'while it runs'], env);
    t.equal(made.exitCode, 0, 'commands work beside it');
    await first.stop('SIGKILL');
    const third = await startGateway(t, env);
    t.pass('the lock died with its process');
    t.equal((await third.stop()).exitCode, 0);
  },
);

t.test(
  'with Redis, several gateways share one database and one limit; one without Redis may not join',
  async (t) => {
    const redis = await startRedis(t);
    const alone = await environment(t);
    const shared = { ...alone, REDIS_URL: redis.url, REQUESTS_PER_MINUTE: '1' };
    const other = { ...shared, AUDIT_LOG_FILE: join(t.testdirName, 'other.log') };
    const gateways = [await startGateway(t, shared), await startGateway(t, other)];
    const urls = gateways.map((gateway) => /"traffic":"([^"]+)"/.exec(gateway.stderr())?.[1] ?? '');
    const { stdout } = await runProgram(
      ['key', 'create', '--name', 'k', '--permissions', 'read', '--json'],
      shared,
    );
    const { key } = JSON.parse(stdout) as { key: string };
    // The upstream is not there: what passes the limit is 502.
    const statuses = [];
    for (const url of urls)
      statuses.push((await fetch(`${url}/tools`, { headers: { 'x-api-key': key } })).status);
    t.strictSame(statuses, [502, 429], 'one key, made once, and one bucket');

    const joining = await runProgram(['start'], alone);
    t.equal(joining.exitCode, 1);
    t.match(joining.stderr, /another gateway runs on this database .*same REDIS_URL/);
    for (const gateway of gateways) t.equal((await gateway.stop()).exitCode, 0);
    const first = await startGateway(t, alone);
    const second = await runProgram(['start'], shared);
    t.equal(second.exitCode, 1);
    t.match(second.stderr, /counts rate limits in its own memory, without the Redis that is configured here/);
    t.equal((await first.stop()).exitCode, 0);
  },
);

t.test('a lock whose connection is lost is taken again', async (t) => {
  const env = await environment(t);
  const gateway = await startGateway(t, env);
  const [before] = await lockHolders(env.DATABASE_URL);
  const client = await server.connect(env.DATABASE_URL);
  await client.query('select pg_terminate_backend($1)', [before]);
  await client.end();
  await until(() => /is held again/.test(gateway.stderr()));
  const after = await lockHolders(env.DATABASE_URL);
  t.equal(after.length, 1);
  t.not(after[0], before);
  t.equal((await gateway.stop()).exitCode, 0);
});

t.test('a gateway whose lock another one has taken meanwhile stops, and says why', async (t) => {
  const env = await environment(t);
  const gateway = await startGateway(t, env);
  const [holder] = await lockHolders(env.DATABASE_URL);
  const [other, client] = [await server.connect(env.DATABASE_URL), await server.connect(env.DATABASE_URL)];
  const taken = other.query(`select pg_advisory_lock(${0x706f7274}, 1)`);
  await until(async () => {
    const { rowCount } = await client.query(
      "select 1 from pg_locks where locktype = 'advisory' and not granted",
    );
    return rowCount === 1;
  });
  await client.query('select pg_terminate_backend($1)', [holder]);
  await taken;
  await until(() => gateway.child.exitCode !== null);
  t.equal(gateway.child.exitCode, 1);
  t.match(gateway.stderr(), /another gateway has taken the database since/);
  await Promise.all([other.end(), client.end()]);
});

t.test('without the secrets that all gateways share nothing is started, and nothing generated', async (t) => {
  const env = { ...(await environment(t)), SECRET_KEY: '', API_KEY_HMAC_KEY: '' };
  for (const command of ['start', 'setup']) {
    const { exitCode, stderr } = await runProgram([command], env);
    t.equal(exitCode, 1);
    t.match(stderr, /gateway\.yaml:\d+:\d+: auth\.tokens\.secrets: .*Set SECRET_KEY/);
    t.match(stderr, /gateway\.yaml:\d+:\d+: auth\.api_keys\.hmac_keys: .*Set API_KEY_HMAC_KEY/);
  }
});

t.test('a database that is not there is one sentence without a password', async (t) => {
  const env = await environment(t, 'postgres://u:hunter2@127.0.0.1:9/d');
  for (const command of ['start', 'setup']) {
    const { exitCode, stderr } = await runProgram([command], env);
    t.equal(exitCode, 1);
    t.match(stderr, /^portcullis: the database 127\.0\.0\.1:9\/d cannot be used: .*ECONNREFUSED/m);
    t.notMatch(stderr, /hunter2|\n {4}at /);
  }
});
