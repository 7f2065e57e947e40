/** Opens a SQL database, with its tables up to date. Every statement goes through Kysely and is parameterized. */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import {
  MigrationError,
  migratePostgres,
  migrateSqlite,
  OtherVersionError,
  requireMigrated,
} from './migrate.ts';
import {
  cannotUse,
  DatabaseOpenError,
  migrationBounds,
  openPostgres,
  type PostgresOptions,
  servingBounds,
} from './postgres.ts';
import { openSqlite, openSqliteToRead } from './sqlite.ts';
import type { DatabaseLocation, PostgresLocation } from './url.ts';

export interface OpenOptions extends PostgresOptions {
  /** The program's own, such as `portcullis_migration`. */
  readonly migrationTable: string;
  readonly migrations: Readonly<Record<string, Migration>>;
  /** Changes nothing: tables that are not up to date are refused in place of being brought there. */
  readonly readsOnly?: boolean;
}

/**
 * @throws DatabaseUrlError, DatabaseOpenError, and what SQLite says at opening
 */
export async function openDatabase<Tables>(
  location: DatabaseLocation,
  options: OpenOptions,
): Promise<Kysely<Tables>> {
  const { migrationTable, migrations, readsOnly = false } = options;
  if (location.kind === 'postgres') {
    await prepare(location, options);
    return openPostgres<Tables>(location, options, servingBounds);
  }
  const database = readsOnly ? openSqliteToRead<Tables>(location.path) : openSqlite<Tables>(location.path);
  try {
    if (readsOnly) await requireMigrated(database, migrationTable, migrations);
    else await migrateSqlite(database, migrationTable, migrations);
    return database;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}

/** Migrates over connections of their own, which may take their time. */
async function prepare(
  location: PostgresLocation,
  { migrationTable, migrations, readsOnly = false, ...options }: OpenOptions,
): Promise<void> {
  const database = openPostgres<unknown>(location, options, migrationBounds);
  try {
    await requireUtf8(database);
    if (readsOnly) await requireMigrated(database, migrationTable, migrations);
    else await migratePostgres(database, migrationTable, migrations);
  } catch (error) {
    if (error instanceof OtherVersionError) throw error;
    throw cannotUse(location, error instanceof MigrationError ? error.cause : error);
  } finally {
    await database.destroy();
  }
}

/** Any other encoding has characters it cannot hold, which would show one request at a time. */
async function requireUtf8(database: Kysely<unknown>): Promise<void> {
  const { rows } = await sql<{
    encoding: string;
  }>`select current_setting('server_encoding') as encoding`.execute(database);
  const encoding = rows[0]?.encoding;
  if (encoding !== 'UTF8') {
    throw new DatabaseOpenError(`it is encoded in ${encoding}, not in UTF8: create one with ENCODING 'UTF8'`);
  }
}
