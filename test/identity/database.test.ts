import Sqlite from 'better-sqlite3';
import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { IdentityDatabase } from '../../src/identity/database.ts';
import type { IdentityTables } from '../../src/identity/tables.ts';
import { openSqlite } from '../../src/sql/database.ts';
import { bearer, createKey, createUser, keyLogIn, logIn, open, refusal } from './fixture.ts';

t.test('a database that is gone is 503, for every kind of credential', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const { key } = await createKey(fixture);
  const user = await logIn(fixture, 'alice');
  await fixture.identity.close();
  const tries = [
    () => bearer(fixture, key),
    () => bearer(fixture, user.access.text),
    () => keyLogIn(fixture, key),
    () => logIn(fixture, 'alice'),
    () => fixture.identity.grants.refresh(user.refresh.text),
    () => fixture.identity.users.toggle('x'),
    () => fixture.identity.setup(),
  ];
  for (const work of tries) {
    t.match(await refusal(work()), { code: 'store_unavailable', status: 503, retryAfterSeconds: 1 });
  }
});

/** A database of one table. */
async function oneTable(path: string): Promise<IdentityDatabase> {
  const tables: Kysely<IdentityTables> = openSqlite(path);
  const database = new IdentityDatabase(tables);
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

t.test('a mistake of ours is not dressed up as the database’s trouble', async (t) => {
  const database = await oneTable(`${t.testdir()}/x.db`);
  t.teardown(() => database.close());
  const wrong = database.run((tables) => tables.selectFrom('users').selectAll().execute());
  await t.rejects(wrong, { code: 'SQLITE_ERROR' });
});

t.test('a key’s session from before a session knew its secret goes on, and ends with it', async (t) => {
  const before = await open(t);
  const { id, key } = await createKey(before);
  const { access, sessionId } = await keyLogIn(before, key);
  const raw = new Sqlite(before.file);
  t.teardown(() => raw.close());
  // Back to the tables of the first version.
  raw.exec(`drop table login_locks; drop table login_addresses; alter table sessions drop column key_hmac;
    alter table api_keys drop column previous_hmac; alter table api_keys drop column previous_hmac_key;
    alter table api_keys drop column previous_until;
    delete from portcullis_migration where name = '0002_logins_and_key_life'`);
  const after = await open(t, before.file);
  t.equal(await reason(bearer(after, access.text)), undefined, sessionId);
  await after.identity.keys.rotate(id);
  t.equal(await reason(bearer(after, access.text)), 'revoked');
});
