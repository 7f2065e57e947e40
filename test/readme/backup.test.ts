/** What the README says of backups, their way back, and the way to a new version, on the program as it is started. */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { sql } from 'kysely';
import t from 'tap';
import { openSqlite } from '../../src/sql/sqlite.ts';
import { toFirstVersion } from '../identity/first-version.ts';
import { startPostgres } from '../support/postgres.ts';
import { block, command } from '../support/readme.ts';
import { Place } from './shell.ts';

const tool = {
  title: 'Weather',
  description: 'Current weather of a city',
  inputSchema: { type: 'object' },
  tags: ['weather'],
  version: '1.0.0',
  server: { url: 'https://weather.example/mcp', transport: 'streamable-http' },
};

/** Makes a tool; the registry is asked before, so that it has the keys of assertions by then. */
async function make(place: Place, name: string): Promise<number> {
  await place.status();
  const response = await fetch(`${place.traffic}/tools`, {
    method: 'POST',
    headers: { 'x-api-key': place.key, 'content-type': 'application/json' },
    body: JSON.stringify({ ...tool, name }),
  });
  await response.arrayBuffer();
  return response.status;
}

async function toolNames(place: Place): Promise<string[]> {
  const response = await fetch(`${place.traffic}/tools`, { headers: { 'x-api-key': place.key } });
  const { items } = (await response.json()) as { items: Array<{ name: string }> };
  return items.map(({ name }) => name);
}

/** Requests all the while that `work` takes. */
async function whileBusy<Result>(place: Place, work: () => Promise<Result>): Promise<Result> {
  let running = true;
  const load = (async () => {
    while (running) await place.status();
  })();
  try {
    return await work();
  } finally {
    running = false;
    await load;
  }
}

const yaml = readFileSync('gateway.yaml', 'utf8').replaceAll('rate: 20/minute', 'rate: 100000/minute');

function loseAll({ directory }: Place): void {
  for (const name of readdirSync(directory)) {
    if (name.startsWith('audit.log') || name === 'data') rmSync(join(directory, name), { recursive: true });
  }
}

async function migrationsIn(file: string): Promise<string[]> {
  const database = openSqlite(file);
  const { rows } = await sql<{ name: string }>`select name from portcullis_migration order by name`.execute(
    database,
  );
  await database.destroy();
  return rows.map(({ name }) => name);
}

t.test('SQLite: what a busy gateway’s backup holds is there again after everything was lost', async (t) => {
  const place = new Place(t, { yaml });
  await place.start();
  t.equal(await make(place, 'before'), 201);
  const saved = await whileBusy(place, () => place.shell(block('backup')));
  t.equal(saved.exitCode, 0, saved.stderr);
  t.match(readFileSync(join(place.directory, 'backup/head'), 'utf8'), /^[0-9a-f]{32}:\d+:[\w-]{43}\n$/);
  t.equal(await make(place, 'after'), 201);
  const id = place.key.slice(4, 16);
  t.equal((await place.shell(`portcullis key disable ${id}`)).exitCode, 0);
  await place.stop();
  loseAll(place);

  const restored = await place.shell(block('restore'));
  t.equal(restored.exitCode, 0, restored.stderr);
  await place.start();
  t.equal(await place.status(), 200, 'what was revoked since is alive again, as the README warns');
  t.strictSame(await toolNames(place), ['before']);
  t.type(await place.logIn(), 'string', 'so is the admin');
  await place.stop();
  const verified = await place.shell('portcullis audit verify --head backup/head');
  t.equal(verified.exitCode, 0, 'the log goes on behind the head of the backup');
});

t.test('a log that was not lost stays, with what was revoked since', async (t) => {
  const place = new Place(t, { yaml });
  await place.start();
  t.equal(await place.status(), 200);
  t.equal((await place.shell(block('backup'))).exitCode, 0);
  t.equal((await place.shell(`portcullis key disable ${place.key.slice(4, 16)}`)).exitCode, 0);
  await place.stop();
  const restored = await place.shell(block('restore'));
  t.equal(restored.exitCode, 0, restored.stderr);
  t.match(readFileSync(join(place.directory, 'audit.log'), 'utf8'), /"principal":"cli:/);
  const aside = readdirSync(place.directory).find((name) => name.startsWith('data.')) ?? '';
  t.ok(readdirSync(join(place.directory, aside)).includes('portcullis.db'), 'what was there is kept aside');
});

t.test('PostgreSQL: the same, by pg_dump and psql into other databases', async (t) => {
  const postgres = await startPostgres(t);
  const place = new Place(t, {
    yaml,
    env: {
      DATABASE_URL: await postgres.createDatabase(),
      REGISTRY_DATABASE_URL: await postgres.createDatabase(),
      SECRET_KEY: randomBytes(48).toString('base64'),
      API_KEY_HMAC_KEY: randomBytes(48).toString('base64'),
    },
  });
  await place.start();
  t.equal(await make(place, 'before'), 201);
  const token = await place.logIn();
  const saved = await whileBusy(place, () => place.shell(block('backup-postgres')));
  t.equal(saved.exitCode, 0, saved.stderr);
  await place.stop();
  loseAll(place);

  const [gateways, registries] = [await postgres.createDatabase(), await postgres.createDatabase()];
  place.env = { ...place.env, DATABASE_URL: gateways, REGISTRY_DATABASE_URL: registries };
  const restored = await place.shell(block('restore-postgres'));
  t.equal(restored.exitCode, 0, restored.stderr);
  await place.start();
  t.equal(await place.status(), 200, 'the same key');
  t.equal(await place.status(token), 200, 'the same token');
  t.strictSame(await toolNames(place), ['before']);
  // Triggers and functions came back as well: what is revoked by hand is followed.
  const client = await postgres.connect(gateways);
  await client.query('update api_keys set is_active = 0');
  await client.end();
  for (let tries = 0; tries < 100 && (await place.status()) === 200; tries += 1)
    await new Promise((next) => setTimeout(next, 100));
  t.equal(await place.status(), 401);
  await place.stop();
  const verified = await place.shell('portcullis audit verify');
  t.equal(verified.exitCode, 0, verified.stdout);
});

t.test('an upgrade as it says, from the tables of the first version, and the way back', async (t) => {
  const place = new Place(t, { yaml });
  await place.start();
  await place.stop();
  const tables = openSqlite(join(place.directory, 'data/portcullis.db'));
  await toFirstVersion(tables, 'sqlite');
  await tables.destroy();

  const saved = await place.shell(block('backup'));
  t.equal(saved.exitCode, 0, saved.stderr);
  t.strictSame(await migrationsIn(join(place.directory, 'backup/data/portcullis.db')), ['0001_identity']);
  t.match(await place.shell(command('npx --no portcullis check')), {
    exitCode: 0,
    stdout: /gateway\.yaml is good/,
  });
  await place.start();
  t.equal(await place.status(), 200, 'the key of before');
  t.type(await place.logIn(), 'string', 'the user of before');
  t.match(await place.shell(command('curl -f ')), { exitCode: 0 });
  const verify = command('npx --no portcullis audit verify --head backup/head');
  t.match(await place.shell(`${verify} || test $? -eq 3`), { exitCode: 0 });
  t.ok((await migrationsIn(join(place.directory, 'data/portcullis.db'))).length > 1);
  await place.stop();
  t.match(await place.shell(verify), { exitCode: 0, stdout: /every record is proven/ });

  t.equal((await place.shell(block('restore'))).exitCode, 0);
  t.strictSame(
    await migrationsIn(join(place.directory, 'data/portcullis.db')),
    ['0001_identity'],
    'the version of before could be started again',
  );
});
