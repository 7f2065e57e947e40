/** Opens PostgreSQL: a pool in which every wait has an end, and a lost connection is the error of one statement. */
import {
  Kysely,
  type PostgresCursor,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  type PostgresQueryResult,
} from 'kysely';
import type pg from 'pg';
import { driver } from './driver.ts';
import { PostgresError, UnavailableError } from './trouble.ts';
import { type PostgresLocation, shownPlace, tlsOptions } from './url.ts';

/** A PostgreSQL that cannot be used; the message says where and why, without user and password. */
export class DatabaseOpenError extends Error {}

export interface PostgresBounds {
  readonly connectionsMax: number;
  /** For a connection to be made, TLS and login included; and for a free one of the pool. */
  readonly connectTimeoutMs: number;
  /** The server ends what runs longer. */
  readonly statementTimeoutMs: number;
  /** The server ends what waits longer for a lock. Over its `deadlock_timeout` (1 s), so that deadlocks are told as such. */
  readonly lockTimeoutMs: number;
  /** The server ends a connection that is idle inside a transaction. */
  readonly transactionIdleTimeoutMs: number;
  /** For a statement's answer: over the server's own bound, and the only one where the server hangs. */
  readonly answerTimeoutMs: number;
}

/** While requests wait. */
export const servingBounds: PostgresBounds = {
  connectionsMax: 10,
  connectTimeoutMs: 2_000,
  statementTimeoutMs: 3_000,
  lockTimeoutMs: 2_000,
  transactionIdleTimeoutMs: 10_000,
  answerTimeoutMs: 4_000,
};

/**
 * One connection that looks for news every second or so: with a look that hangs, and a new connection after it, what
 * it is to see within 5 s is still seen.
 */
export const followingBounds: PostgresBounds = {
  connectionsMax: 1,
  connectTimeoutMs: 1_200,
  statementTimeoutMs: 1_000,
  lockTimeoutMs: 1_000,
  transactionIdleTimeoutMs: 10_000,
  answerTimeoutMs: 1_200,
};

/** While tables are changed: another replica may be at it, and a large table takes its time. */
export const migrationBounds: PostgresBounds = {
  connectionsMax: 2,
  connectTimeoutMs: 10_000,
  statementTimeoutMs: 600_000,
  lockTimeoutMs: 600_000,
  transactionIdleTimeoutMs: 600_000,
  answerTimeoutMs: 610_000,
};

/** A connection that nobody uses is closed after this, and any connection after that, in case the host has moved. */
const idleTimeoutMs = 60_000;
const lifetimeSeconds = 1_800;
const keepAliveDelayMs = 10_000;
/** How long closing waits for a goodbye that a hanging server will not say. */
const closeTimeoutMs = 2_000;

export interface PostgresOptions {
  /** Where the URL gives none. */
  readonly applicationName: string;
  /** Told of a connection that was lost while nobody used it. */
  readonly onError: (error: unknown) => void;
}

/** What every connection is opened with. Nothing is taken from `PG…` variables that could be written here. */
export function connectionOptions(location: PostgresLocation, applicationName: string): pg.ClientConfig {
  const { host, port, user, password, database } = location;
  return {
    host,
    port,
    user,
    ...(password !== undefined && { password }),
    database,
    ssl: tlsOptions(location),
    application_name: location.applicationName ?? applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveDelayMs,
  };
}

/**
 * Connects at the first statement, not before.
 * @throws DatabaseUrlError for a certificate that cannot be read
 */
export function openPostgres<Tables>(
  location: PostgresLocation,
  options: PostgresOptions,
  bounds: PostgresBounds,
): Kysely<Tables> {
  const pool = new (driver().Pool)({
    ...connectionOptions(location, options.applicationName),
    max: bounds.connectionsMax,
    connectionTimeoutMillis: bounds.connectTimeoutMs,
    statement_timeout: bounds.statementTimeoutMs,
    lock_timeout: bounds.lockTimeoutMs,
    idle_in_transaction_session_timeout: bounds.transactionIdleTimeoutMs,
    idleTimeoutMillis: idleTimeoutMs,
    maxLifetimeSeconds: lifetimeSeconds,
  });
  // Without a listener, a connection that is lost while idle would end the process.
  pool.on('error', (error) => options.onError(ownError(error)));
  return new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: new BoundedPool(pool, bounds.answerTimeoutMs) }),
  });
}

/** The driver's pool, with an end to every wait and without errors that tell too much. */
class BoundedPool implements PostgresPool {
  readonly options = {};
  readonly #pool: pg.Pool;
  readonly #answerTimeoutMs: number;
  readonly #open = new Set<pg.PoolClient>();

  constructor(pool: pg.Pool, answerTimeoutMs: number) {
    this.#pool = pool;
    this.#answerTimeoutMs = answerTimeoutMs;
    pool.on('connect', (client) => this.#open.add(client));
    pool.on('remove', (client) => this.#open.delete(client));
  }

  async connect(): Promise<PostgresPoolClient> {
    try {
      return new BoundedClient(await this.#pool.connect(), this.#answerTimeoutMs);
    } catch (error) {
      throw unavailable('no connection to PostgreSQL', error);
    }
  }

  async end(): Promise<void> {
    const cut = setTimeout(() => {
      for (const client of this.#open) client.connection.stream.destroy();
    }, closeTimeoutMs);
    await this.#pool.end();
    clearTimeout(cut);
  }
}

/** One connection, for as long as it is borrowed. */
class BoundedClient implements PostgresPoolClient {
  readonly #client: pg.PoolClient;
  readonly #answerTimeoutMs: number;
  /** Why nothing more can be asked over it: its answers would be to earlier questions, or none. */
  #broken: unknown;

  constructor(client: pg.PoolClient, answerTimeoutMs: number) {
    this.#client = client;
    this.#answerTimeoutMs = answerTimeoutMs;
    client.on('error', this.#onError);
  }

  query<R>(sql: string, parameters: ReadonlyArray<unknown>): Promise<PostgresQueryResult<R>>;
  query<R>(cursor: PostgresCursor<R>): PostgresCursor<R>;
  query<R>(
    statement: string | PostgresCursor<R>,
    parameters: ReadonlyArray<unknown> = [],
  ): Promise<PostgresQueryResult<R>> | PostgresCursor<R> {
    if (typeof statement !== 'string') throw new TypeError('cursors are not used here');
    return this.#ask(statement, parameters);
  }

  release(): void {
    this.#client.off('error', this.#onError);
    this.#client.release(this.#broken !== undefined);
  }

  readonly #onError = (error: unknown) => {
    this.#broken ??= error;
  };

  async #ask<R>(text: string, values: ReadonlyArray<unknown>): Promise<PostgresQueryResult<R>> {
    if (this.#broken !== undefined) throw unavailable('the connection to PostgreSQL is lost', this.#broken);
    const { promise: overdue, reject } = Promise.withResolvers<never>();
    const late = () => reject(new Error(`no answer within ${this.#answerTimeoutMs} ms`));
    const timer = setTimeout(late, this.#answerTimeoutMs);
    try {
      const asked = this.#client.query(text, [...values]);
      return (await Promise.race([asked, overdue])) as unknown as PostgresQueryResult<R>;
    } catch (error) {
      // A value that has no form in SQL: nothing was sent.
      if (error instanceof TypeError) throw error;
      if (error instanceof driver().DatabaseError) throw ownError(error);
      this.#broken = error;
      throw unavailable('the connection to PostgreSQL is lost', error);
    } finally {
      clearTimeout(timer);
    }
  }
}

function unavailable(what: string, cause: unknown): UnavailableError {
  return new UnavailableError(`${what}: ${reasonOf(cause)}`, { cause: ownError(cause) });
}

/** The server's errors hold whole rows in `detail`; the pool hangs the connection, with all that it knows, on its own. */
function ownError(error: unknown): unknown {
  if (error instanceof driver().DatabaseError) return new PostgresError(error.message, error.code ?? 'XX000');
  if (!(error instanceof Error && 'client' in error)) return error;
  const code = 'code' in error ? { code: String(error.code) } : {};
  return Object.assign(new Error(reasonOf(error)), code);
}

/** A few words for people. A name with two addresses fails with a list of errors and no message. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.message || ('code' in error ? String(error.code) : error.name);
}

/** What to throw for a database that failed at the start; a mistake of ours stays what it is. */
export function cannotUse(location: PostgresLocation, error: unknown): unknown {
  if (error instanceof TypeError) return error;
  const message = `the database ${shownPlace(location)} cannot be used: ${reasonOf(error)}`;
  return new DatabaseOpenError(message, { cause: ownError(error) });
}
