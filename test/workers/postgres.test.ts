/** Several workers over one PostgreSQL are one gateway to it: one lock, and what one revokes none believes. The real program. */
import { once } from 'node:events';
import t from 'tap';
import { makeKey, startCrew } from '../support/crew.ts';
import { startPostgres } from '../support/postgres.ts';
import { runProgram } from '../support/program.ts';
import { until } from '../support/redis.ts';

const server = await startPostgres(t);
const url = await server.createDatabase();
const crew = await startCrew(t, {
  sections: {
    auth: `
  tokens: { secrets: ["\${SECRET_KEY}"] }
  api_keys: { hmac_keys: ["\${API_KEY_HMAC_KEY}"] }
  failures: { rate: 100000/hour }`,
  },
  env: {
    DATABASE_URL: url,
    SECRET_KEY: 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
    API_KEY_HMAC_KEY: 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
  },
});

/** What the key gets from all of them; connections are dealt in turn. */
async function statuses(key: string): Promise<number[]> {
  const asked = Array.from({ length: 8 }, () => crew.get('/things/x', { 'x-api-key': key }));
  return [...new Set((await Promise.all(asked)).map(({ status }) => status))];
}

/** A call of the first admin. */
async function asAdmin(): Promise<(path: string, body: unknown) => ReturnType<typeof crew.post>> {
  const { username, password } = JSON.parse((await crew.command(['setup', '--json'])).stdout);
  const { access_token } = JSON.parse((await crew.post('/auth/login', { username, password })).text);
  return (path, body) => crew.post(path, body, { authorization: `Bearer ${access_token}` });
}

t.test('a key that an admin switches off is dead in all of them once the admin is answered', async (t) => {
  const call = await asAdmin();
  for (let turn = 0; turn < 5; turn += 1) {
    const made = await call('/admin/api-keys', { name: `key ${turn}`, can_read: true });
    const { id, key } = JSON.parse(made.text) as { id: string; key: string };
    t.strictSame(await statuses(key), [200]);
    t.equal((await call(`/admin/api-keys/${id}/toggle`, { is_active: false })).status, 200);
    t.strictSame(await statuses(key), [401]);
  }
});

t.test('a key that a command switches off is dead in all of them within 5 s', async (t) => {
  const { id, key } = await makeKey(crew);
  t.strictSame(await statuses(key), [200]);
  await crew.command(['key', 'disable', id]);
  await until(async () => (await statuses(key)).join() === '401', 5_000);
});

t.test('one lock for all of them: it outlives a worker, and dies with the primary', async (t) => {
  const client = await server.connect(url);
  t.teardown(() => client.end());
  const count = async (query: string) => (await client.query(query)).rows.length;
  const held = () =>
    count(`select 1 from pg_locks join pg_database on pg_database.oid = pg_locks.database
           where locktype = 'advisory' and granted and datname = current_database()`);
  t.equal(await held(), 1);
  const [victim = 0] = crew.workerIds();
  await crew.kill(victim);
  t.equal(await held(), 1);
  const { exitCode, stderr } = await runProgram(['start', '--config', crew.config], crew.env);
  t.equal(exitCode, 1);
  t.match(stderr, /another gateway runs on this database/);
  crew.program.child.kill('SIGKILL');
  await once(crew.program.child, 'close');
  await until(async () => (await held()) === 0);
  const connections = `select 1 from pg_stat_activity
    where application_name = 'portcullis' and datname = current_database()`;
  await until(async () => (await count(connections)) === 0);
});
