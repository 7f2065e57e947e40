/** What a database's errors mean, whichever database it is. */

/** PostgreSQL cannot be asked, or did not answer in time; what was under way may or may not have been done. */
export class UnavailableError extends Error {}

/** An error that PostgreSQL answered with, without its `detail`, which repeats whole rows. */
export class PostgresError extends Error {
  /** SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/** Locked, full, read-only, broken or gone (https://sqlite.org/rescode.html). What is left is a mistake of ours. */
const unavailableSqlite =
  /^SQLITE_(?:BUSY|LOCKED|FULL|IOERR|READONLY|CANTOPEN|CORRUPT|NOTADB|NOMEM|PROTOCOL|INTERRUPT|PERM)(?:_|$)/;
/**
 * By class: connection, login, no such database, rolled back for another's sake, resources, not in the right state
 * (a lock not had in time), operator, system, damaged; and a server that only reads (25006, a standby).
 */
const unavailableSqlstate = /^(?:08|28|3D|40|53|55|57|58|XX)|^25006$|^25P0[34]$/;
/** Without a code of their own: closed already. */
const unavailableMessages = ['The database connection is not open', 'driver has already been destroyed'];

/** The database cannot be used right now, through no fault of the statement. */
export function isUnavailable(error: unknown): boolean {
  if (error instanceof UnavailableError) return true;
  if (error instanceof PostgresError) return unavailableSqlstate.test(error.code);
  if (!(error instanceof Error)) return false;
  return (
    unavailableSqlite.test(codeOf(error)) || unavailableMessages.some((text) => error.message.includes(text))
  );
}

/** Another process writes to the same SQLite file at this moment. */
export function isBusy(error: unknown): boolean {
  return /^SQLITE_(?:BUSY|LOCKED)(?:_|$)/.test(codeOf(error));
}

/** It would clash with a row that is there, or lean on one that is not. */
export function isConflict(error: unknown): boolean {
  if (error instanceof PostgresError) return error.code === '23505' || error.code === '23503';
  return /^SQLITE_CONSTRAINT_(?:UNIQUE|PRIMARYKEY|FOREIGNKEY)$/.test(codeOf(error));
}

/** Undone whole for the sake of another transaction (serialization failure, deadlock): the same may pass again. */
function isUndone(error: unknown): boolean {
  return error instanceof PostgresError && (error.code === '40001' || error.code === '40P01');
}

const attemptsMax = 3;

/**
 * Does it again when the database has undone it for the sake of another.
 * @param work one statement or one whole transaction, and nothing besides
 */
export async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isUndone(error) || attempt === attemptsMax) throw error;
      // Apart from those it met, or they would meet again.
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 50));
    }
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
