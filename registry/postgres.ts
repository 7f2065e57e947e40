/** All that holds for PostgreSQL only: full-text search by a tsvector with a GIN index. */
import { type Kysely, sql } from 'kysely';
import type { Dialect } from './dialect.ts';

export const postgres: Dialect = {
  counter: { type: 'serial', autoIncrement: false },
  createIndexes,
  holdsWords: (words) => sql`tool_search.words @@ ${queryOf(words)}::tsquery`,
  // Divided by the length of the text, as bm25 does: of two that hold a word, the one that holds less else is first.
  rank: (words) => sql`-ts_rank('{0.1, 0.4, 0.6, 1.0}', tool_search.words, ${queryOf(words)}::tsquery, 1)`,
};

/** PostgreSQL's own parser is not asked, neither here nor below: what a word is says `search.ts`. */
function queryOf(words: readonly string[]): string {
  return `${words.map(quoted).join(' & ')}:*`;
}

/** Words hold nothing that ends a quotation; this is what keeps it so. */
function quoted(word: string): string {
  return `'${word.replaceAll(/['\\]/g, '')}'`;
}

async function createIndexes(database: Kysely<unknown>): Promise<void> {
  await sql`create table tool_search(
    rowid integer primary key references tool(seq) on delete cascade, words tsvector not null)`.execute(
    database,
  );
  await sql`create index tool_search_words on tool_search using gin (words)`.execute(database);
  await sql`create table tool_tag(
    tag text not null, seq integer not null references tool(seq) on delete cascade, primary key (tag, seq))`.execute(
    database,
  );
  await sql`create index tool_tag_seq on tool_tag(seq)`.execute(database);
  await sql.raw(wordsFunction).execute(database);
  await sql.raw(indexFunction).execute(database);
  await sql`create trigger tool_after_write after insert or update on tool
    for each row execute function tool_index()`.execute(database);
}

/** From folded words with spaces between them; each knows its place, up to the last one that a tsvector can say. */
const wordsFunction = `
  create function tool_words(words text, weight text) returns tsvector language sql immutable as $$
    select coalesce(string_agg('''' || word || ''':' || least(place, 16383) || weight, ' '), '')::tsvector
    from unnest(string_to_array(words, ' ')) with ordinality as found(word, place)
    where word <> ''
  $$`;

const indexFunction = `
  create function tool_index() returns trigger language plpgsql as $$
  begin
    insert into tool_search(rowid, words)
      values (new.seq, tool_words(new.name_words, 'A') || tool_words(new.title_words, 'B')
        || tool_words(new.tags_words, 'C') || tool_words(new.description_words, 'D'))
      on conflict (rowid) do update set words = excluded.words;
    delete from tool_tag where seq = new.seq;
    insert into tool_tag(tag, seq) select value, new.seq from json_array_elements_text(new.tags::json);
    return null;
  end
  $$`;
