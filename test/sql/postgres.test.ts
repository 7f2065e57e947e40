import { type Kysely, sql } from 'kysely';
import t, { type Test } from 'tap';
import { openDatabase } from '../../src/sql/database.ts';
import {
  DatabaseOpenError,
  openPostgres,
  type PostgresBounds,
  servingBounds,
} from '../../src/sql/postgres.ts';
import {
  isConflict,
  isUnavailable,
  PostgresError,
  retried,
  UnavailableError,
} from '../../src/sql/trouble.ts';
import { type PostgresLocation, parseDatabaseUrl } from '../../src/sql/url.ts';
import { startPostgres } from '../support/postgres.ts';

interface Tables {
  counter: { id: number; value: number };
}

const server = await startPostgres(t, { tls: true });
const password = 'hunter2-and-more';

function located(url: string): PostgresLocation {
  const location = parseDatabaseUrl(url);
  if (location.kind !== 'postgres') throw new Error('not PostgreSQL');
  return location;
}

/** A database with two counters. */
async function open(test: Pick<Test, 'teardown'>, bounds: Partial<PostgresBounds> = {}) {
  const url = await server.createDatabase();
  const errors: unknown[] = [];
  const options = { applicationName: 'portcullis-test', onError: (error: unknown) => errors.push(error) };
  const tables = openPostgres<Tables>(located(url), options, { ...servingBounds, ...bounds });
  test.teardown(() => tables.destroy());
  await sql`create table counter(id integer primary key, value integer not null check (value < 100))`.execute(
    tables,
  );
  await tables
    .insertInto('counter')
    .values([
      { id: 1, value: 0 },
      { id: 2, value: 0 },
    ])
    .execute();
  return { url, tables, errors };
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    return error;
  }
  return undefined;
}

const add = (tables: Kysely<Tables>, id: number) =>
  tables
    .updateTable('counter')
    .set((row) => ({ value: row('value', '+', 1) }))
    .where('id', '=', id)
    .execute();

t.test('a connection says which program it is, and how long it will wait', async (t) => {
  const { tables } = await open(t);
  const setting = async (name: string) =>
    (await sql<{ value: string }>`select current_setting(${name}) as value`.execute(tables)).rows[0]?.value;
  t.equal(await setting('application_name'), 'portcullis-test');
  t.equal(await setting('statement_timeout'), '3s');
  t.equal(await setting('lock_timeout'), '2s');
  t.equal(await setting('idle_in_transaction_session_timeout'), '10s');
});

t.test(
  'a statement that runs too long, or waits too long for a lock, is a database not to be had',
  async (t) => {
    const { tables, url } = await open(t, { statementTimeoutMs: 300, lockTimeoutMs: 100 });
    t.match(await failure(sql`select pg_sleep(20)`.execute(tables)), { code: '57014' });
    const other = await server.connect(url);
    await other.query('begin; lock table counter');
    const waited = await failure(add(tables, 1));
    await other.end();
    t.match(waited, { code: '55P03' });
    t.ok(isUnavailable(waited));
  },
);

t.test('a server that answers late is given up, and its connection is not asked again', async (t) => {
  const { tables } = await open(t, { answerTimeoutMs: 200, connectionsMax: 1 });
  const late = await failure(sql`select pg_sleep(1)`.execute(tables));
  t.ok(late instanceof UnavailableError);
  const { rows } = await sql<{ one: number }>`select 1 as one`.execute(tables);
  t.same(rows, [{ one: 1 }], 'not the answer to the question before');
});

t.test('when all connections are busy, waiting for one has an end', async (t) => {
  const { tables } = await open(t, { connectionsMax: 1, connectTimeoutMs: 300 });
  const busy = sql`select pg_sleep(1.5)`.execute(tables);
  const waiting = await Promise.all([failure(add(tables, 1)), failure(add(tables, 2))]);
  t.ok(waiting.every((error) => error instanceof UnavailableError));
  await busy;
  await add(tables, 1);
});

t.test(
  'a connection that is cut in the middle of a transaction is an error of that transaction only',
  async (t) => {
    const { tables, url } = await open(t);
    const cut = tables.transaction().execute(async (transaction) => {
      await add(transaction, 1);
      const other = await server.connect(url);
      await other.query(
        `select pg_terminate_backend(pid) from pg_stat_activity
       where application_name = 'portcullis-test' and datname = current_database()`,
      );
      await other.end();
      await add(transaction, 2);
    });
    t.ok(isUnavailable(await failure(cut)));
    t.same(await tables.selectFrom('counter').select('value').execute(), [{ value: 0 }, { value: 0 }]);
  },
);

t.test('of two transactions that wait for each other one is done again, and both pass', async (t) => {
  const { tables } = await open(t);
  const bothHold = Promise.withResolvers<void>();
  let holding = 0;
  let runs = 0;
  const crosswise = (first: number, second: number) =>
    retried(() =>
      tables.transaction().execute(async (transaction) => {
        runs += 1;
        await add(transaction, first);
        holding += 1;
        if (holding === 2) bothHold.resolve();
        await bothHold.promise;
        await add(transaction, second);
      }),
    );
  await Promise.all([crosswise(1, 2), crosswise(2, 1)]);
  t.equal(runs, 3);
  t.same(await tables.selectFrom('counter').select('value').execute(), [{ value: 2 }, { value: 2 }]);
});

t.test('a serialization failure is done again as well', async (t) => {
  const { tables } = await open(t);
  let runs = 0;
  const work = () =>
    tables
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (transaction) => {
        runs += 1;
        await transaction.selectFrom('counter').selectAll().execute();
        if (runs === 1) await add(tables, 1);
        await add(transaction, 1);
      });
  await retried(work);
  t.equal(runs, 2);
});

t.test('a row that is there already is a conflict; a broken rule is a mistake of ours', async (t) => {
  const { tables } = await open(t);
  const taken = await failure(tables.insertInto('counter').values({ id: 1, value: 0 }).execute());
  t.ok(isConflict(taken));
  const broken = await failure(tables.updateTable('counter').set({ value: 12_345 }).execute());
  t.ok(broken instanceof PostgresError);
  t.notOk(isConflict(broken) || isUnavailable(broken));
  t.notMatch(JSON.stringify(broken) + String(broken), /12345/, 'the row is not in the error');
});

t.test('TLS: verify-full takes the right server only, and a password is in no message', async (t) => {
  const url = await server.createDatabase();
  const admin = await server.connect(url);
  await admin.query(`create role tester login password '${password}'`);
  await admin.end();
  const database = located(url).database;
  const said = async (host: string, query: string, secret = password) => {
    const at = `postgres://tester:${secret}@${host}:${server.port}/${database}${query}`;
    const options = { applicationName: 'x', onError: () => undefined, migrationTable: 'm', migrations: {} };
    const opened = openDatabase<Tables>(parseDatabaseUrl(at), options).then((tables) => tables.destroy());
    const error = await failure(opened);
    if (error === undefined) return 'opened';
    t.ok(error instanceof DatabaseOpenError, String(error));
    const { message, stack, cause } = error as Error;
    t.notMatch(`${message}${stack}${JSON.stringify(cause)}${String(cause)}`, secret);
    return message;
  };
  const verify = `?sslmode=verify-full&sslrootcert=${server.authority}`;
  // It may log in, and make no tables of its own: that is how far it has to come.
  const inside = /permission denied for schema public/;
  t.match(await said('localhost', verify), inside);
  t.match(await said('127.0.0.1', verify), /IP: 127.0.0.1 is not in the cert/);
  t.match(await said('127.0.0.1', verify.replace('verify-full', 'verify-ca')), inside);
  t.match(await said('127.0.0.1', '?sslmode=require'), inside);
  t.match(await said('localhost', '?sslmode=verify-full'), /certificate/, 'signed by nobody known');
  t.match(await said('localhost', '?sslmode=disable'), /no encryption/);
  t.match(await said('localhost', verify, 'not-the-password'), /password authentication failed/);
});

t.test('a database that cannot be used is told by place and reason', async (t) => {
  const options = { applicationName: 'x', onError: () => undefined, migrationTable: 'm', migrations: {} };
  const said = async (url: string) => String(await failure(openDatabase(parseDatabaseUrl(url), options)));
  t.match(
    await said('postgres://u:secret@127.0.0.1:9/d'),
    /the database 127\.0\.0\.1:9\/d cannot be used: .*ECONNREFUSED/,
  );
  t.match(await said('postgres://u@%2Fnowhere/d'), /\/nowhere:5432\/d cannot be used: .*ENOENT/);
  const url = await server.createDatabase();
  t.match(await said(url.replace(/\/\w+$/, '/none')), /database "none" does not exist/);
  const admin = await server.connect(url);
  await admin.query("create database latin template template0 encoding 'LATIN1'");
  await admin.end();
  t.match(await said(url.replace(/\/\w+$/, '/latin')), /encoded in LATIN1, not in UTF8/);
});
