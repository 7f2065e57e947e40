/** Brings a database's tables up to date. Each program has a migration table of its own, so one database can hold both. */
import type { Kysely } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';

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
  if ((await migrator.migrateToLatest()).error === undefined) return;
  // SQLite has no lock for it: where another process was migrating too, the second try finds its work done.
  const { error, results } = await migrator.migrateToLatest();
  if (error === undefined) return;
  const failed = results?.find((result) => result.status === 'Error');
  throw new MigrationError(`migration ${failed?.migrationName ?? '(none)'} of ${table} failed`, {
    cause: error,
  });
}
