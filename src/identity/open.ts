/** Opens the database of users and keys and, where somebody believes what it said, follows what it says next. */
import { type Kysely, sql } from 'kysely';
import type { Clock } from '../clock.ts';
import { revocationPollEmbeddedMs, revocationPollMs } from '../limits.ts';
import { openDatabase } from '../sql/database.ts';
import { followingBounds, openPostgres } from '../sql/postgres.ts';
import type { DatabaseLocation } from '../sql/url.ts';
import { IdentityDatabase } from './database.ts';
import { migrations, migrationTable } from './migrations.ts';
import { type Believer, Revocations } from './revocations.ts';
import type { IdentityTables } from './tables.ts';

export interface OpeningOptions {
  readonly clock: Clock;
  /** Told of an idle connection that was lost. */
  readonly onError: (error: unknown) => void;
  /** Who believes what was verified before, and so has to be told of what is revoked; a command has none. */
  readonly believer?: Believer;
  /** Told when what is revoked cannot be read, and with nothing when it can be again. */
  readonly onRevocationsState?: (error?: unknown) => void;
  /** Writes nothing: the tables have to be up to date. */
  readonly readsOnly?: boolean;
}

interface OpenedDatabase {
  readonly database: IdentityDatabase;
  /** Where there is a believer. */
  readonly revocations: Revocations | undefined;
  close(): Promise<void>;
}

/** @throws DatabaseOpenError, and what SQLite says at opening */
export async function openTables(
  location: DatabaseLocation,
  { clock, onError, believer, onRevocationsState = () => undefined, readsOnly = false }: OpeningOptions,
): Promise<OpenedDatabase> {
  const options = { applicationName: 'portcullis', onError, migrationTable, migrations, readsOnly };
  const tables = await openDatabase<IdentityTables>(location, options);
  if (believer === undefined) {
    const database = new IdentityDatabase(tables, location.kind);
    return { database, revocations: undefined, close: () => database.close() };
  }
  const isShared = location.kind === 'postgres';
  // Requests may wait for a connection; this must not. SQLite has one, which nobody keeps.
  const followed: Kysely<IdentityTables> = isShared
    ? openPostgres(location, options, followingBounds)
    : tables;
  const intervalMs = isShared ? revocationPollMs : revocationPollEmbeddedMs;
  const revocations = new Revocations({
    tables: followed,
    ...(isShared && { server: sql<string>`pg_postmaster_start_time()::text` }),
    believer,
    clock,
    intervalMs,
    onState: onRevocationsState,
  });
  const database = new IdentityDatabase(tables, location.kind, () => revocations.catchUpEverywhere());
  await revocations.start();
  return {
    database,
    revocations,
    close: async () => {
      await revocations.close();
      if (isShared) await followed.destroy();
      await database.close();
    },
  };
}
