/** Opens a SQL database, with its tables up to date. Every statement goes through Kysely and is parameterized. */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { MigrationError, migratePostgres, migrateSqlite, NewerDatabaseError } from './migrate.ts';
import {
  cannotUse,
  DatabaseOpenError,
  migrationBounds,
  openPostgres,
  type PostgresOptions,
  servingBounds,
} from './postgres.ts';
import { openSqlite } from './sqlite.ts';
import type { DatabaseLocation, PostgresLocation } from './url.ts';

export interface OpenOptions extends PostgresOptions {
  /** The program's own, such as `portcullis_migration`. */
  readonly migrationTable: string;
  readonly migrations: Readonly<Record<string, Migration>>;
}

/**
 * @throws DatabaseUrlError, DatabaseOpenError, and what SQLite says at opening
 */
export async function openDatabase<Tables>(
  location: DatabaseLocation,
  options: OpenOptions,
): Promise<Kysely<Tables>> {
  if (location.kind === 'postgres') {
    await prepare(location, options);
    return openPostgres<Tables>(location, options, servingBounds);
  }
  const database = openSqlite<Tables>(location.path);
  try {
    await migrateSqlite(database, options.migrationTable, options.migrations);
    return database;
  } catch (error) {
    await database.destroy();
    throw error;
  }
}

/** Migrates over connections of their own, which may take their time. */
async function prepare(location: PostgresLocation, options: OpenOptions): Promise<void> {
  const database = openPostgres<unknown>(location, options, migrationBounds);
  try {
    await requireUtf8(database);
    await migratePostgres(database, options.migrationTable, options.migrations);
  } catch (error) {
    if (error instanceof NewerDatabaseError) throw error;
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
