/** Brings a database's tables up to date. Each program has a migration table of its own, so one database can hold both. */
import { type Kysely, sql } from 'kysely';
import { type Migration, Migrator } from 'kysely/migration';
import { isBusy } from './trouble.ts';

/** With ten processes at it, the last one's turn comes after a few seconds. */
const busyAttemptsMax = 100;
const busyWaitMs = 200;

/** A migration that failed; its cause says why. */
export class MigrationError extends Error {}

/** The database is of another version than this one; its message says what to do. */
export class OtherVersionError extends MigrationError {}

type Migrations = Readonly<Record<string, Migration>>;

/**
 * Runs the migrations that are missing, in the order of their names, all or none. Any number of processes may do so
 * at once: PostgreSQL has an advisory lock for it.
 * @param table the program's own migration table, such as `portcullis_migration`
 * @throws MigrationError for the first failure, with the migration's name in the message
 */
export function migratePostgres<Tables>(
  database: Kysely<Tables>,
  table: string,
  migrations: Migrations,
): Promise<void> {
  return run(database, table, migrations, { disableTransactions: false });
}

/** The same for SQLite, whose only lock is its writer's: it is taken before the first look at what is missing. */
export function migrateSqlite<Tables>(
  database: Kysely<Tables>,
  table: string,
  migrations: Migrations,
): Promise<void> {
  return database.connection().execute(async (connection) => {
    await beginWriting(connection);
    try {
      await run(connection, table, migrations, { disableTransactions: true });
      await sql`commit`.execute(connection);
    } catch (error) {
      // A full disk makes SQLite roll back by itself, and another attempt would hide why.
      await sql`rollback`.execute(connection).catch(() => undefined);
      throw error;
    }
  });
}

/** Waits its turn between the attempts, since SQLite's own waiting stops this whole process. */
async function beginWriting<Tables>(connection: Kysely<Tables>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await sql`begin immediate`.execute(connection);
      return;
    } catch (error) {
      if (!isBusy(error) || attempt === busyAttemptsMax) throw error;
      await new Promise((resolve) => setTimeout(resolve, Math.random() * busyWaitMs));
    }
  }
}

/**
 * For who must not change the tables.
 * @throws OtherVersionError unless they are as this version has them
 */
export async function requireMigrated<Tables>(
  database: Kysely<Tables>,
  table: string,
  migrations: Migrations,
): Promise<void> {
  const known = await migratorOf(database, table, migrations).getMigrations();
  const missing = known.find(({ executedAt }) => executedAt === undefined)?.name;
  if (missing !== undefined) throw new OtherVersionError(olderSentence(missing));
  const { rows } = await sql<{ name: string }>`select name from ${sql.table(table)}`.execute(database);
  const unknown = rows.find(({ name }) => !Object.hasOwn(migrations, name))?.name;
  if (unknown !== undefined) throw new OtherVersionError(newerSentence(unknown));
}

function migratorOf<Tables>(database: Kysely<Tables>, table: string, migrations: Migrations): Migrator {
  return new Migrator({
    db: database,
    provider: { getMigrations: async () => ({ ...migrations }) },
    migrationTableName: table,
    migrationLockTableName: `${table}_lock`,
  });
}

async function run<Tables>(
  database: Kysely<Tables>,
  table: string,
  migrations: Migrations,
  options: { readonly disableTransactions: boolean },
): Promise<void> {
  const migrator = migratorOf(database, table, migrations);
  const { error, results } = await migrator.migrateToLatest(options);
  if (error === undefined) return;
  const failed = results?.find((result) => result.status === 'Error')?.migrationName;
  const unknown = unknownMigration(error);
  if (unknown !== undefined) throw new OtherVersionError(newerSentence(unknown), { cause: error });
  throw new MigrationError(`migration ${failed ?? '(none)'} of ${table} failed`, { cause: error });
}

/** The migration that was done and that nobody here knows: nothing is tried then. */
function unknownMigration(error: unknown): string | undefined {
  const why = error instanceof Error ? error.message : String(error);
  return /previously executed migration (\S+) is missing/.exec(why)?.[1];
}

function olderSentence(migration: string): string {
  return (
    `this database is not up to date (migration ${migration} is missing), and this command changes nothing: ` +
    '`portcullis start` brings it up to date'
  );
}

function newerSentence(migration: string): string {
  return (
    `this database was made by a newer version of Portcullis (it has migration ${migration}): start that version, ` +
    'or restore the backup from before the upgrade'
  );
}
