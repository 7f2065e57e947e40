/** Brings a database's tables up to date. Each program has a migration table of its own, so one database can hold both. */
import type { Kysely } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import { isBusy } from './trouble.ts';

const attemptsMax = 2;
/** With ten processes at it, the last one's turn comes after a few seconds. */
const busyAttemptsMax = 100;
const busyWaitMs = 200;

/** A migration that failed; its cause says why. */
export class MigrationError extends Error {}

/**
 * Runs the migrations that are missing, in the order of their names, each in a transaction. Two processes may do so at once.
 * @param table the program's own migration table, such as `portcullis_migration`
 * @throws MigrationError for the first failure, with the migration's name in the message; nothing of that migration stays
 */
export async function migrate<Tables>(
  database: Kysely<Tables>,
  table: string,
  migrations: Readonly<Record<string, Migration>>,
): Promise<void> {
  const migrator = new Migrator({
    db: database,
    provider: { getMigrations: async () => ({ ...migrations }) },
    migrationTableName: table,
    migrationLockTableName: `${table}_lock`,
  });
  // SQLite has no lock for it: where another process is migrating too, a later try finds its work done.
  for (let attempt = 1; ; attempt += 1) {
    const { error, results } = await migrator.migrateToLatest();
    if (error === undefined) return;
    if (attempt >= (isBusy(error) ? busyAttemptsMax : attemptsMax)) {
      const failed = results?.find((result) => result.status === 'Error');
      const name = failed?.migrationName ?? '(none)';
      throw new MigrationError(`migration ${name} of ${table} failed`, { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, Math.random() * busyWaitMs));
  }
}
