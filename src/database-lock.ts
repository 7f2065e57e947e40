/**
 * One gateway a database, unless a Redis counts for several on a shared one: the lock that says so, and the sentences
 * for whoever comes second.
 */
import { noDatabase } from './config/database-location.ts';
import type { Config } from './config/schema.ts';
import { holdLock, LockedError } from './sql/lock.ts';
import { DatabaseOpenError } from './sql/postgres.ts';
import { holdSharedLock, type LockMode } from './sql/shared-lock.ts';
import { type PostgresLocation, parseDatabaseUrl, shownPlace } from './sql/url.ts';
import { StartError, startError } from './start-error.ts';
import type { Logger } from './telemetry/log.ts';

export interface DatabaseLock {
  /** Resolves when another gateway has it. */
  readonly lost: Promise<void>;
  release(): void | Promise<void>;
}

/** Where there is nothing to lock, or another process of this gateway holds it for all. */
export const unlocked: DatabaseLock = { lost: new Promise(() => undefined), release: () => undefined };

/** @throws StartError when another gateway holds it, or the database cannot be asked */
export async function lockDatabase(config: Config, log: Logger): Promise<DatabaseLock> {
  if (config.database === noDatabase) return unlocked;
  const location = parseDatabaseUrl(config.database);
  if (location.kind === 'sqlite') return lockEmbedded(location.path);
  return lockShared(location, config.rate_limits.redis === '' ? 'alone' : 'together', log);
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

/** Without a Redis that counts for all of them, two gateways would each give every caller the whole of its rate. */
async function lockShared(location: PostgresLocation, mode: LockMode, log: Logger): Promise<DatabaseLock> {
  const onState = (held: boolean, err?: unknown) => {
    if (held) log.info('the lock on the shared database is held again');
    else log.warn({ err }, 'the connection that holds the lock on the shared database is lost');
  };
  try {
    return await holdSharedLock(location, mode, onState);
  } catch (error) {
    if (error instanceof DatabaseOpenError) throw new StartError(error.message, { cause: error });
    if (!(error instanceof LockedError)) throw error;
    throw new StartError(
      `another gateway runs on this database (${shownPlace(location)}): ${sentences[mode]}`,
    );
  }
}

const sentences: Readonly<Record<LockMode, string>> = {
  alone:
    "without Redis, rate limits are counted in each gateway's memory, so that a shared database serves one gateway. " +
    'Give all of them the same REDIS_URL (rate_limits.redis), or stop the other one, or give this one a DATABASE_URL ' +
    'of its own.',
  together:
    'it counts rate limits in its own memory, without the Redis that is configured here. Give it the same REDIS_URL ' +
    '(rate_limits.redis) and start it anew, or stop it.',
};

/** What to say when the lock has been lost for good. */
export const lostSentence =
  'the connection that held the lock on the shared database was lost, and another gateway has taken the database ' +
  'since, which does not count rate limits together with this one: this one stops.';
