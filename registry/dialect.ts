/** What the two databases do each in its own way; `sqlite.ts` and `postgres.ts` are the two. */
import type { ColumnDataType, Expression, Kysely, RawBuilder, SqlBool } from 'kysely';

export interface Dialect {
  /** Of a column that counts up by itself and never gives a number twice. */
  readonly counter: { readonly type: ColumnDataType; readonly autoIncrement: boolean };

  /**
   * Makes `tool_search`, the index of words, with a row `rowid` for each `seq` of `tool`, and `tool_tag`, the index
   * of tags. Triggers keep both in step within the statement that changes a tool, so that no change is ever half
   * there.
   */
  createIndexes(database: Kysely<unknown>): Promise<void>;

  /**
   * Whether a row of `tool_search` holds all words, the last one as the beginning of a word.
   * @param words plain words, folded (see `queryWords`)
   */
  holdsWords(words: readonly string[]): Expression<SqlBool>;

  /**
   * How well a row matches; least is best. A word in the name counts ten times one in the description, in the title
   * six, in a tag four.
   */
  rank(words: readonly string[]): RawBuilder<number>;
}
