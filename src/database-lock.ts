/** One gateway a database: the lock that says so, embedded or shared, and the sentences for whoever comes second. */
import { noDatabase } from './config/database-location.ts';
import type { Config } from './config/schema.ts';
import { holdLock, LockedError } from './sql/lock.ts';
import { DatabaseOpenError } from './sql/postgres.ts';
import { holdSharedLock } from './sql/shared-lock.ts';
import { type PostgresLocation, parseDatabaseUrl, shownPlace } from './sql/url.ts';
import { StartError, startError } from './start-error.ts';
import type { Logger } from './telemetry/log.ts';

interface DatabaseLock {
  /** Resolves when another gateway has it. */
  readonly lost: Promise<void>;
  release(): void | Promise<void>;
}

const unlocked: DatabaseLock = { lost: new Promise(() => undefined), release: () => undefined };

/** @throws StartError when another gateway holds it, or the database cannot be asked */
export async function lockDatabase(config: Config, log: Logger): Promise<DatabaseLock> {
  if (config.database === noDatabase) return unlocked;
  const location = parseDatabaseUrl(config.database);
  // Redis counts for all of them.
  if (location.kind === 'postgres' && config.rate_limits.redis !== '') return unlocked;
  return location.kind === 'sqlite' ? lockEmbedded(location.path) : lockShared(location, log);
}

/** The lock's file stands beside the database. */
function lockEmbedded(databasePath: string): DatabaseLock {
  const path = `${databasePath}.lock`;
  try {
    return { ...holdLock(path), lost: new Promise(() => undefined) };
  } catch (error) {
    if (!(error instanceof LockedError)) throw startError(`the lock ${path} cannot be taken`, error);
    throw new StartError(
      `another gateway runs on this database (${path} is held): an embedded database serves one gateway. ` +
        'Stop the other one, or give this one a DATABASE_URL of its own.',
    );
  }
}

/** Until Redis counts for all of them, two gateways would each give every caller the whole of its rate. */
async function lockShared(location: PostgresLocation, log: Logger): Promise<DatabaseLock> {
  const onState = (held: boolean, err?: unknown) => {
    if (held) log.info('the lock on the shared database is held again');
    else log.warn({ err }, 'the connection that holds the lock on the shared database is lost');
  };
  try {
    return await holdSharedLock(location, onState);
  } catch (error) {
    if (error instanceof DatabaseOpenError) throw new StartError(error.message, { cause: error });
    if (!(error instanceof LockedError)) throw error;
    throw new StartError(
      `another gateway runs on this database (${shownPlace(location)}): rate limits are counted in each gateway's ` +
        'memory, and the Redis that would count for several is not in this version, so that a shared database serves ' +
        'one gateway. Stop the other one, or give this one a DATABASE_URL of its own.',
    );
  }
}

/** What to say when the lock has been lost for good. */
export const lostSentence =
  'the connection that held the lock on the shared database was lost, and another gateway has taken the database ' +
  'since: this one stops, since a shared database serves one gateway in this version.';
