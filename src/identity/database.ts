/** The one door to the tables, and the one place where a database's trouble becomes an answer. */
import type { Kysely } from 'kysely';
import { Refusal } from '../errors.ts';
import type { IdentityTables } from './tables.ts';

/** A connection or a transaction. */
export type Tables = Kysely<IdentityTables>;

export class IdentityDatabase {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  /** @throws Refusal `store_unavailable` when the database cannot be asked right now */
  run<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return answered(() => work(this.#tables));
  }

  /**
   * All or nothing. Inside, only the tables handed in may be used (an embedded database has one connection), and
   * the first statement should write: SQLite cannot turn a reader into a writer while another process writes.
   * @throws Refusal `store_unavailable` when the database cannot be asked right now
   */
  transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return answered(async () => {
      let failure: unknown;
      const noted = (tables: Tables) =>
        work(tables).catch((error) => {
          failure = error;
          throw error;
        });
      try {
        return await this.#tables.transaction().execute(noted);
      } catch (error) {
        // A full disk makes SQLite roll back by itself; the driver's own attempt then fails and hides why.
        throw failure ?? error;
      }
    });
  }

  close(): Promise<void> {
    return this.#tables.destroy();
  }
}

async function answered<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUnavailable(error)) throw error;
    // Neither SQLite's errors nor Kysely's hold a statement's parameters.
    throw new Refusal('store_unavailable', { retryAfterSeconds: 1, cause: error });
  }
}

/** Locked, full, read-only, broken or gone (https://sqlite.org/rescode.html). What is left is a mistake of ours. */
const unavailableCodes =
  /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|READONLY|CANTOPEN|CORRUPT|NOTADB|NOMEM|PROTOCOL|INTERRUPT|PERM)/;
/** Without a code of their own: closed already. */
const unavailableMessages = ['The database connection is not open', 'driver has already been destroyed'];

function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && unavailableCodes.test(String(error.code))) return true;
  return unavailableMessages.some((message) => error.message.includes(message));
}
