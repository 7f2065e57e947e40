import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { sql } from 'kysely';
import t from 'tap';
import { openSqlite } from '../../src/sql/sqlite.ts';

t.test('a column that another program adds meanwhile moves no value under another name', async (t) => {
  const path = join(t.testdir(), 'a.db');
  const database = openSqlite<{ one: { a: number }; two: { b: number } }>(path);
  t.teardown(() => database.destroy());
  await sql`create table one (a integer)`.execute(database);
  await sql`create table two (b integer)`.execute(database);
  await sql`insert into one values (1)`.execute(database);
  await sql`insert into two values (2)`.execute(database);
  const all = () => database.selectFrom(['one', 'two']).selectAll('one').select('b').execute();
  const named = () => database.selectFrom(['one', 'two']).select(['a', 'b']).execute();
  t.same(await all(), [{ a: 1, b: 2 }]);
  t.same(await named(), [{ a: 1, b: 2 }]);
  const other = new Sqlite(path);
  other.exec('alter table one add column c integer default 3');
  other.close();
  t.same(await all(), [{ a: 1, c: 3, b: 2 }]);
  t.same(await named(), [{ a: 1, b: 2 }]);
});
