/** All that holds for SQLite only: opening, full-text search, and which of its errors mean what. */
import { type Kysely, type RawBuilder, type SqlBool, sql } from 'kysely';
import { openSqlite, sqlitePath } from '../src/sql/database.ts';
import { lockTimeoutMs } from './limits.ts';

/**
 * Opens the registry's database.
 * @param url `sqlite:./data/registry.db` and the like
 * @throws DatabaseUrlError for another kind of URL, and SQLite's own errors
 */
export async function openDatabase<Tables>(url: string): Promise<Kysely<Tables>> {
  const database = openSqlite<Tables>(sqlitePath(url));
  await sql`pragma busy_timeout = ${sql.lit(lockTimeoutMs)}`.execute(database);
  return database;
}

/**
 * The index of words and the index of tags. Triggers keep both in step within the statement that changes a
 * tool, so that no change is ever half there.
 */
export async function createIndexes(database: Kysely<unknown>): Promise<void> {
  await sql`
    create virtual table tool_search using fts5(
      name_words, title_words, tags_words, description_words,
      content = 'tool', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3')`.execute(
    database,
  );
  await sql`create table tool_tag(
    tag text not null, seq integer not null, primary key (tag, seq)) without rowid`.execute(database);
  for (const [event, statements] of Object.entries(triggers)) {
    await sql`create trigger ${sql.raw(`tool_after_${event} after ${event} on tool begin ${statements} end`)}`.execute(
      database,
    );
  }
}

const columns = 'name_words, title_words, tags_words, description_words';
const addWords = `insert into tool_search(rowid, ${columns})
  values (new.seq, new.name_words, new.title_words, new.tags_words, new.description_words);`;
// An index without its own copy of the text has to be told what it is to forget.
const dropWords = `insert into tool_search(tool_search, rowid, ${columns})
  values ('delete', old.seq, old.name_words, old.title_words, old.tags_words, old.description_words);`;
const addTags = 'insert into tool_tag(tag, seq) select value, new.seq from json_each(new.tags);';
const dropTags =
  'delete from tool_tag where seq = old.seq and tag in (select value from json_each(old.tags));';

const triggers = {
  insert: addWords + addTags,
  delete: dropWords + dropTags,
  update: dropWords + dropTags + addWords + addTags,
};

/**
 * Whether a row of `tool_search` holds all words, the last one as the beginning of a word.
 * @param words plain words (see `wordsOf`); quoted, so that `OR` and `NEAR` are words too
 */
export function holdsWords(words: readonly string[]): RawBuilder<SqlBool> {
  const phrases = words.map((word) => `"${word.replaceAll('"', '""')}"`);
  return sql<SqlBool>`tool_search match ${`${phrases.join(' ')}*`}`;
}

/** Best first. A word in the name counts ten times one in the description, in the title six, in a tag four. */
export const rank: RawBuilder<number> = sql<number>`bm25(tool_search, 10.0, 6.0, 4.0, 1.0)`;

function sqliteCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** A value that has to be unique is there already. */
export function isTaken(error: unknown): boolean {
  return sqliteCode(error) === 'SQLITE_CONSTRAINT_UNIQUE';
}

const unavailable = /^SQLITE_(BUSY|LOCKED|FULL|IOERR|CANTOPEN|READONLY|CORRUPT|NOTADB|NOMEM|PROTOCOL)(_|$)/;

/** The store itself cannot be used: locked by another process, a full or failing disk, a damaged file. */
export function isUnavailable(error: unknown): boolean {
  return unavailable.test(sqliteCode(error));
}
