/** The one door to the tables, and the one place where a database's trouble becomes an answer. */
import { type Kysely, sql } from 'kysely';
import { Refusal } from '../errors.ts';
import { advisoryLocks } from '../sql/shared-lock.ts';
import { isConflict, isUnavailable, retried } from '../sql/trouble.ts';
import type { DatabaseLocation } from '../sql/url.ts';
import type { IdentityTables } from './tables.ts';

/** A connection or a transaction. */
export type Tables = Kysely<IdentityTables>;

export class IdentityDatabase {
  readonly #tables: Tables;
  readonly #kind: DatabaseLocation['kind'];
  readonly #onChanged: () => Promise<void>;

  /** @param onChanged called after every transaction, which waits for it: what was revoked has to be so here first */
  constructor(
    tables: Tables,
    kind: DatabaseLocation['kind'],
    onChanged: () => Promise<void> = async () => {},
  ) {
    this.#tables = tables;
    this.#kind = kind;
    this.#onChanged = onChanged;
  }

  /**
   * For reading, and for writing what takes no right away: on whatever does, `transaction` has the last word.
   * @throws Refusal `store_unavailable` when the database cannot be asked right now, `conflict`
   */
  run<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    return answered(() => work(this.#tables));
  }

  /**
   * All or nothing. Inside, only the tables handed in may be used (an embedded database has one connection), and
   * the first statement should write: SQLite cannot turn a reader into a writer while another process writes.
   * PostgreSQL runs transactions side by side, each statement on what was committed before it: a decision must be
   * part of the statement that writes, or of `serialized`. One that was undone for another's sake is done again.
   * @param work touches nothing but the tables, since it may run more than once
   * @throws Refusal `store_unavailable` when the database cannot be asked right now, `conflict`
   */
  async transaction<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    const result = await answered(() => retried(() => this.#once(work)));
    await this.#onChanged();
    return result;
  }

  /**
   * Like `transaction`. When the connection is lost before the answer, nobody knows whether it was done; then `look`
   * goes and sees, over another connection.
   * @param look the result if what `work` would have changed stands so; it locks the row, for the change may still be
   *   on its way
   */
  async settled<T>(
    work: (tables: Tables) => Promise<T>,
    look: (tables: Tables) => Promise<T | undefined>,
  ): Promise<T> {
    try {
      return await this.transaction(work);
    } catch (error) {
      if (!isInDoubt(error)) throw error;
      const found = await this.transaction(look).catch(() => undefined);
      if (found === undefined) throw error;
      return found;
    }
  }

  /** A transaction that no other of this kind runs beside, in any process: for rules over many rows. */
  serialized<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    // SQLite has one writer at a time anyway.
    if (this.#kind === 'sqlite') return this.transaction(work);
    return this.transaction(async (tables) => {
      await sql`select pg_advisory_xact_lock(${advisoryLocks.class}, ${advisoryLocks.serialized})`.execute(
        tables,
      );
      return work(tables);
    });
  }

  close(): Promise<void> {
    return this.#tables.destroy();
  }

  /** Said, not left to the database's default: at a higher level a lock is waited for after the snapshot is taken. */
  #begin() {
    const transaction = this.#tables.transaction();
    return this.#kind === 'sqlite' ? transaction : transaction.setIsolationLevel('read committed');
  }

  async #once<T>(work: (tables: Tables) => Promise<T>): Promise<T> {
    let failure: unknown;
    const noted = (tables: Tables) =>
      work(tables).catch((error) => {
        failure = error;
        throw error;
      });
    try {
      return await this.#begin().execute(noted);
    } catch (error) {
      // A full disk makes SQLite roll back by itself, and a lost connection cannot: the driver's own attempt
      // then fails and hides why.
      throw failure ?? error;
    }
  }
}

/** Whether what was under way when this was thrown may have been done after all. */
export function isInDoubt(error: unknown): boolean {
  return error instanceof Refusal && error.code === 'store_unavailable';
}

async function answered<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // None of these errors holds a statement's parameters.
    if (isUnavailable(error)) throw new Refusal('store_unavailable', { retryAfterSeconds: 1, cause: error });
    if (isConflict(error)) throw new Refusal('conflict', { cause: error });
    throw error;
  }
}
