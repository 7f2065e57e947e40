/**
 * One gateway a shared database, or any number of those that count together: a lock of PostgreSQL that goes with the
 * connection it was taken over.
 */
import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { driver } from './driver.ts';
import { LockedError } from './lock.ts';
import { cannotUse, connectionOptions } from './postgres.ts';
import type { PostgresLocation } from './url.ts';

/** The names of our advisory locks: `port` in ASCII, and which. Kysely's own for migrations is of the other form. */
export const advisoryLocks = { class: 0x706f7274, gateway: 1, serialized: 2 } as const;

/** How often the connection is asked whether it lives, and how long it may take to say so. */
const heartbeatMs = 5_000;
const answerTimeoutMs = 4_000;
const connectTimeoutMs = 4_000;
/** A gateway that has just died may hold it for another moment. */
const firstAttempts = 10;
const attemptIntervalMs = 200;
/** Between two tries to get back a lock whose connection was lost. */
const regainIntervalMs = 1_000;

const lockFunctions = { alone: 'pg_try_advisory_lock', together: 'pg_try_advisory_lock_shared' } as const;
export type LockMode = keyof typeof lockFunctions;

export interface SharedLock {
  /** Resolves when the connection was lost and another gateway has taken the lock since. */
  readonly lost: Promise<void>;
  release(): Promise<void>;
}

/**
 * Holds the lock until `release` or the end of the process, kill -9 included: the server lets go of it when the
 * connection ends, or after half a minute without a sign of life of this machine. When only the connection is
 * lost, the lock is taken again as soon as the server can be reached.
 * @param mode `alone`: nobody else may hold it; `together`: nobody may hold it alone
 * @param onState told in words of a lock that is lost for now, and of one that is back
 * @throws LockedError when another process holds it, DatabaseOpenError when the server cannot be used
 */
export async function holdSharedLock(
  location: PostgresLocation,
  mode: LockMode,
  onState: (held: boolean, error?: unknown) => void,
): Promise<SharedLock> {
  const holder = new Holder(location, mode, onState);
  await holder.begin();
  return holder;
}

class Holder implements SharedLock {
  readonly lost: Promise<void>;
  readonly #location: PostgresLocation;
  readonly #mode: LockMode;
  readonly #onState: (held: boolean, error?: unknown) => void;
  readonly #giveUp: () => void;
  /** By which the server's lists tell this process's own connections from another gateway's. */
  readonly #name = `portcullis lock ${randomBytes(12).toString('base64url')}`;
  #client: pg.Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #released = false;

  constructor(location: PostgresLocation, mode: LockMode, onState: (held: boolean, error?: unknown) => void) {
    this.#location = location;
    this.#mode = mode;
    this.#onState = onState;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.lost = promise;
    this.#giveUp = resolve;
  }

  async begin(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (await this.#take()) return;
      } catch (error) {
        throw cannotUse(this.#location, error);
      }
      if (attempt === firstAttempts) throw new LockedError('held by another gateway');
      await new Promise((resolve) => setTimeout(resolve, attemptIntervalMs));
    }
  }

  async release(): Promise<void> {
    this.#released = true;
    clearTimeout(this.#timer);
    if (this.#client !== undefined) await end(this.#client);
  }

  /** Connects and takes the lock, if it is to be had. */
  async #take(): Promise<boolean> {
    const client = new (driver().Client)({
      ...connectionOptions(this.#location, this.#name),
      application_name: this.#name,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: answerTimeoutMs,
    });
    // Without a listener, a lost connection would end the process.
    client.on('error', () => undefined);
    try {
      await client.connect();
      const taken = await tryLock(client, this.#mode, this.#name);
      if (!taken || this.#released) await end(client);
      else this.#hold(client);
      return taken;
    } catch (error) {
      await end(client);
      throw error;
    }
  }

  #hold(client: pg.Client): void {
    this.#client = client;
    client.once('end', () => this.#onLost(client, new Error('the connection was closed')));
    this.#later(heartbeatMs, () => this.#beat(client));
  }

  async #beat(client: pg.Client): Promise<void> {
    try {
      await client.query('select 1');
      if (this.#client === client) this.#later(heartbeatMs, () => this.#beat(client));
    } catch (error) {
      this.#onLost(client, error);
    }
  }

  /** Once for each connection, whichever way its end shows first. */
  #onLost(client: pg.Client, error: unknown): void {
    if (this.#client !== client || this.#released) return;
    this.#client = undefined;
    void end(client);
    this.#onState(false, error);
    this.#later(0, () => this.#regain());
  }

  async #regain(): Promise<void> {
    try {
      if (await this.#take()) this.#onState(true);
      else if (!this.#released) this.#giveUp();
    } catch {
      this.#later(regainIntervalMs, () => this.#regain());
    }
  }

  #later(delayMs: number, work: () => Promise<void>): void {
    clearTimeout(this.#timer);
    if (!this.#released) this.#timer = setTimeout(() => void work(), delayMs);
  }
}

const { class: classId, gateway: lockId } = advisoryLocks;

async function tryLock(client: pg.Client, mode: LockMode, name: string): Promise<boolean> {
  // A machine that is gone says no goodbye: 10 s of silence and four unanswered probes are its end.
  await client.query(
    'set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4',
  );
  if (await locked(client, mode)) return true;
  // The server may not have noticed yet that a connection of this very process is gone.
  const { rowCount } = await client.query(
    `select pg_terminate_backend(pid) from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and classid = $1 and objid = $2 and application_name = $3 and pid <> pg_backend_pid()`,
    [classId, lockId, name],
  );
  if (rowCount === 0) return false;
  for (let attempt = 0; attempt < firstAttempts; attempt += 1) {
    if (await locked(client, mode)) return true;
    await new Promise((resolve) => setTimeout(resolve, attemptIntervalMs));
  }
  throw new Error('an earlier connection of this gateway still holds the lock');
}

async function locked(client: pg.Client, mode: LockMode): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    `select ${lockFunctions[mode]}($1, $2) as locked`,
    [classId, lockId],
  );
  return rows[0]?.locked === true;
}

/** Says goodbye, but does not wait for the answer of a server that hangs. */
async function end(client: pg.Client): Promise<void> {
  const cut = setTimeout(() => client.connection.stream.destroy(), attemptIntervalMs);
  await client.end().catch(() => undefined);
  clearTimeout(cut);
}
