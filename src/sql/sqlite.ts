/** Opens SQLite, the embedded database. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely';
import { LRUCache } from 'lru-cache';

/** How long a statement waits for another process's write lock. It waits on the event loop, so not for long. */
const busyTimeoutMs = 250;
/** At opening nobody is served yet, and others that start at the same moment may be making their tables. */
const openingTimeoutMs = 10_000;

/**
 * Opens (and creates, mode 0600, which its side files inherit) a SQLite database in WAL mode.
 * `synchronous=FULL`: what was committed survives a power cut, since a revoked key must stay revoked.
 */
export function openSqlite<Tables>(path: string): Kysely<Tables> {
  if (path !== ':memory:') createPrivately(path);
  const database = new Sqlite(path);
  database.pragma(`busy_timeout = ${openingTimeoutMs}`);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.pragma('foreign_keys = ON');
  database.pragma(`busy_timeout = ${busyTimeoutMs}`);
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database: new PreparedOnce(database) }) });
}

/** Statements that are kept prepared; texts are ours, so there are not many more. */
const statementsMax = 200;

/** To prepare a statement takes several times as long as to look up a row with it. */
class PreparedOnce implements SqliteDatabase {
  readonly #database: Sqlite.Database;
  readonly #statements = new LRUCache<string, SqliteStatement>({ max: statementsMax });

  constructor(database: Sqlite.Database) {
    this.#database = database;
  }

  prepare(text: string): SqliteStatement {
    // What `*` means may change: a later version's command may add a column to a table while this process runs, and a
    // statement that was prepared before would hand out values under the names of others.
    if (text.includes('*')) return this.#database.prepare(text);
    const known = this.#statements.get(text);
    if (known !== undefined) return known;
    const statement: SqliteStatement = this.#database.prepare(text);
    this.#statements.set(text, statement);
    return statement;
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }
}

/** One that is there, from which this connection only reads. @throws what SQLite says at opening */
export function openSqliteToRead<Tables>(path: string): Kysely<Tables> {
  const database = new Sqlite(path, { fileMustExist: true });
  database.pragma(`busy_timeout = ${busyTimeoutMs}`);
  // Not opened `readonly`: beside a gateway that has just ended, SQLite may have to put its log in order first.
  database.pragma('query_only = ON');
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database }) });
}

/** An empty file of our own mode before SQLite makes one of the process's umask: hashes are nobody else's to read. */
export function createPrivately(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, 'a', 0o600));
}
