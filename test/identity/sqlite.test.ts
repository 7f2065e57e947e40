import { statSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { IdentityDatabase } from '../../src/identity/database.ts';
import type { IdentityTables } from '../../src/identity/tables.ts';
import { openSqlite } from '../../src/sql/sqlite.ts';
import { bearer, logIn, open, password, refusal } from './fixture.ts';

t.test('the secrets lie beside the database, and what they made works after a restart', async (t) => {
  const folder = t.testdir();
  const database = `sqlite:${folder}/portcullis.db`;
  const before = await open(t, database);
  const first = await before.identity.setup({ adminPassword: password });
  const { access } = await logIn(before, 'admin');
  for (const name of ['secret.key', 'api-keys.key']) {
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  }
  await before.identity.close();
  const after = await open(t, database);
  t.match(await bearer(after, access.text), { kind: 'user' });
  t.match(await bearer(after, first?.key.key ?? ''), { kind: 'key' });
});

/** A database of one table. */
async function oneTable(path: string): Promise<IdentityDatabase> {
  const tables: Kysely<IdentityTables> = openSqlite(path);
  const database = new IdentityDatabase(tables, 'sqlite');
  await database.run((connection) =>
    connection.schema.createTable('setup').addColumn('id', 'integer').addColumn('done_at', 'text').execute(),
  );
  return database;
}

const write = (database: IdentityDatabase, text = '') =>
  database.transaction((tables) => tables.insertInto('setup').values({ id: 1, done_at: text }).execute());

t.test('attack 39: database locked: a write is 503, reads go on, and it recovers', async (t) => {
  const file = `${t.testdir()}/x.db`;
  const database = await oneTable(file);
  const other = new Sqlite(file);
  t.teardown(async () => {
    other.close();
    await database.close();
  });
  await database.run((tables) => sql`pragma busy_timeout = 10`.execute(tables));
  other.exec('begin immediate');
  const failed = await refusal(write(database));
  t.match(failed, { code: 'store_unavailable', cause: { code: 'SQLITE_BUSY' } });
  t.same(await database.run((tables) => tables.selectFrom('setup').selectAll().execute()), []);
  other.exec('rollback');
  t.equal(await refusal(write(database)), undefined);
});

t.test('attack 39: disk full: a write is 503, nothing of it stays, and it recovers', async (t) => {
  const file = `${t.testdir()}/x.db`;
  const database = await oneTable(file);
  t.teardown(() => database.close());
  const pages = (max: number) =>
    database.run((tables) => sql`pragma max_page_count = ${sql.lit(max)}`.execute(tables));
  await pages(2);
  t.match(await refusal(write(database, 'x'.repeat(100_000))), {
    code: 'store_unavailable',
    cause: { code: 'SQLITE_FULL' },
  });
  await pages(1_000);
  t.same(await database.run((tables) => tables.selectFrom('setup').selectAll().execute()), []);
  t.equal(await refusal(write(database, 'x'.repeat(100_000))), undefined);
});
