/** Opens a SQL database by URL. SQLite is embedded; every statement goes through Kysely and is parameterized. */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { Kysely, SqliteDialect } from 'kysely';

/** How long a statement waits for another process's write lock. It waits on the event loop, so not for long. */
const busyTimeoutMs = 250;

/** A URL that cannot be opened; the message says what to write instead. */
export class DatabaseUrlError extends Error {}

/**
 * The file a `sqlite:` URL names. Both `sqlite:./data/x.db` and SQLAlchemy's `sqlite:///./x.db` (relative) and
 * `sqlite:////var/x.db` (absolute) are taken.
 * @throws DatabaseUrlError for any other scheme.
 */
export function sqlitePath(url: string): string {
  const match = /^sqlite:(?:\/\/\/)?(?<path>[^/].*|\/.*)$/s.exec(url);
  const path = match?.groups?.path;
  if (path === undefined || path.startsWith('//')) {
    throw new DatabaseUrlError(
      `${JSON.stringify(schemeOf(url))} is not a database this version opens: write sqlite:./path/to/file.db`,
    );
  }
  return path;
}

/** Only the scheme: the rest of a URL may hold a password. */
function schemeOf(url: string): string {
  return url.slice(0, url.indexOf(':') + 1) || url.slice(0, 12);
}

/**
 * Opens (and creates, mode 0600, which its side files inherit) a SQLite database in WAL mode.
 * `synchronous=FULL`: what was committed survives a power cut, since a revoked key must stay revoked.
 */
export function openSqlite<Tables>(path: string): Kysely<Tables> {
  if (path !== ':memory:') createPrivately(path);
  const database = new Sqlite(path);
  database.pragma(`busy_timeout = ${busyTimeoutMs}`);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.pragma('foreign_keys = ON');
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database }) });
}

/** An empty file of our own mode before SQLite makes one of the process's umask: hashes are nobody else's to read. */
export function createPrivately(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  closeSync(openSync(path, 'a', 0o600));
}
