/** All that holds for SQLite only: full-text search by FTS5. */
import { type Kysely, sql } from 'kysely';
import type { Dialect } from './dialect.ts';

export const sqlite: Dialect = {
  counter: { type: 'integer', autoIncrement: true },
  createIndexes,
  // Quoted, so that `OR` and `NEAR` are words too.
  holdsWords: (words) => {
    const phrases = words.map((word) => `"${word.replaceAll('"', '""')}"`);
    return sql`tool_search match ${`${phrases.join(' ')}*`}`;
  },
  rank: () => sql`bm25(tool_search, 10.0, 6.0, 4.0, 1.0)`,
};

async function createIndexes(database: Kysely<unknown>): Promise<void> {
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
