/** One gateway a data directory: a lock that the operating system lets go of when its process dies. */
import Sqlite from 'better-sqlite3';
import { createPrivately } from './sqlite.ts';

/** Another process holds the lock. */
export class LockedError extends Error {}

/**
 * Holds an exclusive lock on a file (created where missing) until `release` or the process's end, kill -9 included.
 * SQLite's own file lock is used, since node has none.
 * @throws LockedError when another process holds it
 */
export function holdLock(path: string): { release(): void } {
  createPrivately(path);
  const file = new Sqlite(path, { timeout: 0 });
  try {
    file.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    file.close();
    if (error instanceof Sqlite.SqliteError && error.code.startsWith('SQLITE_BUSY'))
      throw new LockedError(path);
    throw error;
  }
  return { release: () => file.close() };
}
