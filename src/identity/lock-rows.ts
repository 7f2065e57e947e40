/** The statements on locks and on the addresses of logins; each takes a connection or a transaction. */
import { createHash } from 'node:crypto';
import type { WallMs } from '../clock.ts';
import { lockForgottenMs, loginAddressesMax, loginAddressForgottenMs, loginLocksMax } from '../limits.ts';
import type { Tables } from './database.ts';
import { timeText } from './subject.ts';
import type { LoginLockRow } from './tables.ts';

/** Rows one statement clears away at most. */
const clearedAtOnce = 100;
/** A login from the same address is written down anew after a day: it need not be known to the minute. */
const loginAddressFreshMs = 86_400_000;

/** The one form of a username that names are compared and counted by. */
export function usernameKey(username: string): string {
  return username.toLowerCase();
}

export function nameDigest(username: string): string {
  return createHash('sha256').update(usernameKey(username)).digest('base64url');
}

/** The locks that concern this name at this address; the one with address `''` concerns all. */
export function selectLocks(tables: Tables, digest: string, address: string): Promise<LoginLockRow[]> {
  return tables
    .selectFrom('login_locks')
    .selectAll()
    .where('name_digest', '=', digest)
    .where('address', 'in', ['', address])
    .execute();
}

/** Writes a lock in place of the one before, and keeps the table bounded: forgotten rows go, then those soonest over. */
export async function upsertLock(tables: Tables, row: Omit<LoginLockRow, 'id'>, now: WallMs): Promise<void> {
  const { level, locked_until } = row;
  const id = lockId(row.name_digest, row.address);
  await tables
    .insertInto('login_locks')
    .values({ id, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ level, locked_until }))
    .execute();
  const forgotten = timeText((now - lockForgottenMs) as WallMs);
  await tables
    .deleteFrom('login_locks')
    .where('id', 'in', (expression) =>
      expression
        .selectFrom('login_locks')
        .select('id')
        .where('locked_until', '<=', forgotten)
        .limit(clearedAtOnce),
    )
    .execute();
  await tables
    .deleteFrom('login_locks')
    .where('id', 'in', (expression) =>
      expression
        .selectFrom('login_locks')
        .select('id')
        .where('id', '<>', id)
        .orderBy('locked_until', 'desc')
        .limit(clearedAtOnce)
        .offset(loginLocksMax - 1),
    )
    .execute();
}

export async function deleteLock(tables: Tables, digest: string, address: string): Promise<void> {
  await tables.deleteFrom('login_locks').where('id', '=', lockId(digest, address)).execute();
}

/** Lifts every lock of a name. */
export async function deleteLocks(tables: Tables, username: string): Promise<void> {
  await tables.deleteFrom('login_locks').where('name_digest', '=', nameDigest(username)).execute();
}

/** What an admin sees of a user's locks. */
export interface LocksShown {
  readonly locked_until: string | null;
  readonly locked_addresses: number;
}

/** By username; one that has no lock in force is absent. */
export async function selectLocksShown(
  tables: Tables,
  usernames: readonly string[],
  now: WallMs,
): Promise<ReadonlyMap<string, LocksShown>> {
  const byDigest = new Map(usernames.map((username) => [nameDigest(username), username]));
  if (byDigest.size === 0) return new Map();
  const rows = await tables
    .selectFrom('login_locks')
    .select((row) => [
      'name_digest',
      row.fn.max('locked_until').as('locked_until'),
      row.fn.countAll().filterWhere('address', '<>', '').as('locked_addresses'),
    ])
    .where('name_digest', 'in', [...byDigest.keys()])
    .where('locked_until', '>', timeText(now))
    .groupBy('name_digest')
    .execute();
  return new Map(
    rows.map(({ name_digest, locked_until, locked_addresses }) => [
      byDigest.get(name_digest) ?? '',
      { locked_until, locked_addresses: Number(locked_addresses) },
    ]),
  );
}

/** Whether the user of this name has logged in from this address lately; false for a name that nobody has. */
export async function isLoginAddress(
  tables: Tables,
  username: string,
  address: string,
  now: WallMs,
): Promise<boolean> {
  const row = await tables
    .selectFrom('login_addresses')
    .innerJoin('users', 'users.id', 'login_addresses.user_id')
    .select('login_addresses.id')
    .where('users.username_key', '=', usernameKey(username))
    .where('login_addresses.address', '=', address)
    .where('login_addresses.last_login_at', '>', timeText((now - loginAddressForgottenMs) as WallMs))
    .executeTakeFirst();
  return row !== undefined;
}

/** Remembers a login's address; the user's oldest go. */
export async function rememberAddress(
  tables: Tables,
  userId: string,
  address: string,
  now: WallMs,
): Promise<void> {
  const last_login_at = timeText(now);
  const { numInsertedOrUpdatedRows } = await tables
    .insertInto('login_addresses')
    .values({ id: `${userId} ${address}`, user_id: userId, address, last_login_at })
    .onConflict((conflict) =>
      conflict
        .column('id')
        .doUpdateSet({ last_login_at })
        .where('login_addresses.last_login_at', '<=', timeText((now - loginAddressFreshMs) as WallMs)),
    )
    .executeTakeFirstOrThrow();
  if (numInsertedOrUpdatedRows === 0n) return;
  await tables
    .deleteFrom('login_addresses')
    .where('id', 'in', (expression) =>
      expression
        .selectFrom('login_addresses')
        .select('id')
        .where('user_id', '=', userId)
        .orderBy('last_login_at', 'desc')
        .orderBy('id')
        .limit(clearedAtOnce)
        .offset(loginAddressesMax),
    )
    .execute();
}

function lockId(digest: string, address: string): string {
  return `${digest} ${address}`;
}
