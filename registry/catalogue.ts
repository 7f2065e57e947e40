/** The tools in SQL. Every change is one statement, and takes effect only on the revision it was made for. */
import { randomUUID } from 'node:crypto';
import {
  type Expression,
  expressionBuilder,
  type Generated,
  type Kysely,
  type Selectable,
  type SqlBool,
  sql,
} from 'kysely';
import { openDatabase } from '../src/sql/database.ts';
import { isConflict, retried } from '../src/sql/trouble.ts';
import { parseDatabaseUrl } from '../src/sql/url.ts';
import type { Dialect } from './dialect.ts';
import { Refusal } from './errors.ts';
import { lockTimeoutMs } from './limits.ts';
import { migrationsOf, migrationTable } from './migrations.ts';
import { postgres } from './postgres.ts';
import { indexText, nameWords } from './search.ts';
import { sqlite } from './sqlite.ts';
import type { Tool, ToolInput } from './tool.ts';

/** Columns hold JSON text where the field is no plain text. */
interface ToolTable {
  seq: Generated<number>;
  id: string;
  name: string;
  title: string | null;
  description: string | null;
  input_schema: string;
  output_schema: string | null;
  annotations: string | null;
  tags: string;
  version: string | null;
  server: string | null;
  created_by: string | null;
  /** ISO 8601, UTC. */
  created_at: string;
  updated_at: string;
  /** Counts the tool's changes, from 1. */
  revision: number;
  /** The words that search looks in; empty where there is no text. */
  name_words: string;
  title_words: string;
  tags_words: string;
  description_words: string;
}

interface Tables {
  tool: ToolTable;
  /** Kept by triggers; see `Dialect`. */
  tool_tag: { tag: string; seq: number };
  tool_search: { rowid: number };
}

/** A tool, and the revision that a change of it has to name. */
export interface StoredTool {
  readonly tool: Tool;
  readonly revision: number;
}

/** Which part of a list. */
export interface Page {
  /** From 1. */
  readonly page: number;
  readonly pageSize: number;
  /** A tool must have all of them. */
  readonly tags: readonly string[];
}

export interface ToolList {
  readonly items: readonly Tool[];
  /** On all pages. */
  readonly total: number;
}

export interface CatalogueOptions {
  /** `sqlite:./data/registry.db`, `postgres://…` */
  readonly url: string;
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: () => number;
  /** Told of a connection that was lost while nobody used it. */
  readonly onError: (error: unknown) => void;
}

export class Catalogue {
  readonly #database: Kysely<Tables>;
  readonly #dialect: Dialect;
  readonly #wallMs: () => number;

  private constructor(database: Kysely<Tables>, dialect: Dialect, wallMs: () => number) {
    this.#database = database;
    this.#dialect = dialect;
    this.#wallMs = wallMs;
  }

  /**
   * Opens the database and brings its tables up to date.
   * @throws DatabaseUrlError, DatabaseOpenError, or SQLite's own error
   */
  static async open({ url, wallMs, onError }: CatalogueOptions): Promise<Catalogue> {
    const location = parseDatabaseUrl(url);
    const dialect = location.kind === 'sqlite' ? sqlite : postgres;
    const migrations = migrationsOf(dialect);
    const options = { applicationName: 'portcullis-registry', onError, migrationTable, migrations };
    const database = await openDatabase<Tables>(location, options);
    if (dialect === sqlite) await sql`pragma busy_timeout = ${sql.lit(lockTimeoutMs)}`.execute(database);
    return new Catalogue(database, dialect, wallMs);
  }

  async close(): Promise<void> {
    await this.#database.destroy();
  }

  /** Asks the database something, and throws when it cannot answer. */
  async ping(): Promise<void> {
    await this.#database.selectFrom('tool').select('seq').limit(1).execute();
  }

  /** In the order of registration. */
  async list({ page, pageSize, tags }: Page): Promise<ToolList> {
    const tools = this.#database.selectFrom('tool').where(hasTags(tags));
    const { total } = await tools.select(countOf).executeTakeFirstOrThrow();
    const ordered = tools.selectAll('tool').orderBy('tool.seq');
    const rows = await ordered
      .limit(pageSize)
      .offset((page - 1) * pageSize)
      .execute();
    return { items: rows.map(toolOf), total };
  }

  /** The tools that hold all words, best match first. */
  async search(words: readonly string[], { page, pageSize, tags }: Page): Promise<ToolList> {
    const found = this.#database
      .selectFrom('tool_search')
      .innerJoin('tool', 'tool.seq', 'tool_search.rowid')
      .where(this.#dialect.holdsWords(words))
      .where(hasTags(tags));
    const { total } = await found.select(countOf).executeTakeFirstOrThrow();
    // Equal ranks are common; without a second key they could change places between two pages.
    const ranked = found.selectAll('tool').orderBy(this.#dialect.rank(words)).orderBy('tool.seq');
    const rows = await ranked
      .limit(pageSize)
      .offset((page - 1) * pageSize)
      .execute();
    return { items: rows.map(toolOf), total };
  }

  async read(id: string): Promise<StoredTool | undefined> {
    const row = await this.#database.selectFrom('tool').selectAll().where('id', '=', id).executeTakeFirst();
    return row && { tool: toolOf(row), revision: row.revision };
  }

  /**
   * @param createdBy the subject who registers the tool, if known
   * @throws Refusal `conflict` when the name is taken
   */
  async create(input: ToolInput, createdBy: string | null): Promise<StoredTool> {
    const now = this.#now();
    const identity = { id: randomUUID(), created_by: createdBy, created_at: now, updated_at: now };
    const insert = this.#database
      .insertInto('tool')
      .values({ ...columnsOf(input), ...identity, revision: 1 })
      .returningAll();
    const row = await retried(() => insert.executeTakeFirstOrThrow()).catch(refuseTakenName);
    return { tool: toolOf(row), revision: row.revision };
  }

  /**
   * Replaces a tool that is still at `revision`.
   * @returns undefined when it is not there at that revision
   * @throws Refusal `conflict` when another tool has the new name
   */
  async replace(id: string, revision: number, input: ToolInput): Promise<StoredTool | undefined> {
    const update = this.#database
      .updateTable('tool')
      .set({ ...columnsOf(input), updated_at: this.#now(), revision: revision + 1 })
      .where('id', '=', id)
      .where('revision', '=', revision)
      .returningAll();
    const row = await retried(() => update.executeTakeFirst()).catch(refuseTakenName);
    return row && { tool: toolOf(row), revision: row.revision };
  }

  /** Removes a tool that is still at `revision`; false when it is not there at that revision. */
  async remove(id: string, revision: number): Promise<boolean> {
    const removal = this.#database.deleteFrom('tool').where('id', '=', id).where('revision', '=', revision);
    const { numDeletedRows } = await retried(() => removal.executeTakeFirst());
    return numDeletedRows === 1n;
  }

  #now(): string {
    return new Date(this.#wallMs()).toISOString();
  }
}

const countOf = sql<number>`cast(count(*) as integer)`.as('total');

/** Whether a tool has all of the tags. */
function hasTags(tags: readonly string[]): Expression<SqlBool> {
  const build = expressionBuilder<Tables, 'tool'>();
  const tagged = (tag: string) => build.selectFrom('tool_tag').select('seq').where('tag', '=', tag);
  return build.and(tags.map((tag) => build('tool.seq', 'in', tagged(tag))));
}

function refuseTakenName(error: unknown): never {
  throw isConflict(error) ? new Refusal('conflict', { cause: error }) : error;
}

function columnsOf(input: ToolInput) {
  return {
    name: input.name,
    title: input.title ?? null,
    description: input.description ?? null,
    input_schema: JSON.stringify(input.inputSchema),
    output_schema: jsonColumn(input.outputSchema),
    annotations: jsonColumn(input.annotations),
    tags: JSON.stringify(input.tags),
    version: input.version ?? null,
    server: jsonColumn(input.server),
    name_words: nameWords(input.name),
    title_words: indexText(input.title ?? ''),
    tags_words: indexText(input.tags.join(' ')),
    description_words: indexText(input.description ?? ''),
  };
}

function jsonColumn(value: object | undefined): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

/** What was never given is not in the answer, as in MCP; only `created_by` is always there. */
function toolOf(row: Selectable<ToolTable>): Tool {
  return {
    id: row.id,
    name: row.name,
    ...(row.title !== null && { title: row.title }),
    ...(row.description !== null && { description: row.description }),
    inputSchema: JSON.parse(row.input_schema),
    ...(row.output_schema !== null && { outputSchema: JSON.parse(row.output_schema) }),
    ...(row.annotations !== null && { annotations: JSON.parse(row.annotations) }),
    tags: JSON.parse(row.tags),
    ...(row.version !== null && { version: row.version }),
    ...(row.server !== null && { server: JSON.parse(row.server) }),
    created_by: row.created_by,
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
}
