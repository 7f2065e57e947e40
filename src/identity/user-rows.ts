/** The statements on users; each takes a connection or a transaction. */
import { sql } from 'kysely';
import type { Tables } from './database.ts';
import type { LocksShown } from './lock-rows.ts';
import type { User } from './shapes.ts';
import type { Flag, Time, UserRow } from './tables.ts';

/** Columns to set; `flip` turns `is_active` around in the statement itself. */
export type UserUpdate = Partial<Omit<UserRow, 'id' | 'is_active'>> & { is_active?: Flag | 'flip' };

export function selectUser(tables: Tables, id: string): Promise<UserRow | undefined> {
  return tables.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
}

/** @returns false when the name is taken, in whatever case */
export async function insertUser(tables: Tables, row: UserRow): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tables
    .insertInto('users')
    .values(row)
    .onConflict((conflict) => conflict.column('username_key').doNothing())
    .executeTakeFirstOrThrow();
  return numInsertedOrUpdatedRows === 1n;
}

export async function countUsers(tables: Tables): Promise<number> {
  const { count } = await tables
    .selectFrom('users')
    .select((row) => row.fn.countAll().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

/**
 * Changes a user unless that would leave no active admin. One statement decides, in a transaction that is
 * `serialized`, so that of two admins who disable each other at the same moment only one succeeds.
 * @returns the row as it is now; `undefined` when there is no such user, or the change was refused
 */
export function updateUnlessLastAdmin(
  tables: Tables,
  id: string,
  { is_active: active, ...columns }: UserUpdate,
  now: Time,
): Promise<UserRow | undefined> {
  const mayDemote = columns.is_admin === 0 || active === 0 || active === 'flip';
  return tables
    .updateTable('users')
    .set({ ...columns, updated_at: now })
    .$if(active !== undefined, (update) =>
      update.set({ is_active: active === 'flip' ? sql<Flag>`1 - is_active` : (active ?? 1) }),
    )
    .where('id', '=', id)
    .$if(mayDemote, (update) =>
      update.where(({ eb, or, exists, selectFrom }) =>
        or([
          eb('is_admin', '=', 0),
          eb('is_active', '=', 0),
          exists(
            selectFrom('users as other')
              .select('other.id')
              .where('other.is_admin', '=', 1)
              .where('other.is_active', '=', 1)
              .where('other.id', '<>', id),
          ),
        ]),
      ),
    )
    .returningAll()
    .executeTakeFirst();
}

/** @param previous changes it only if the hash is still this one */
export async function updatePassword(
  tables: Tables,
  id: string,
  hash: string,
  now: Time,
  previous?: string,
): Promise<boolean> {
  const { numUpdatedRows } = await tables
    .updateTable('users')
    .set({ password_hash: hash, updated_at: now })
    .where('id', '=', id)
    .$if(previous !== undefined, (update) => update.where('password_hash', '=', previous ?? ''))
    .executeTakeFirstOrThrow();
  return numUpdatedRows === 1n;
}

export function shownUser(row: UserRow, locks: LocksShown): User {
  return {
    id: row.id,
    username: row.username,
    email: row.email,
    can_create: row.can_create === 1,
    can_read: row.can_read === 1,
    can_update: row.can_update === 1,
    can_delete: row.can_delete === 1,
    is_admin: row.is_admin === 1,
    is_active: row.is_active === 1,
    created_at: row.created_at,
    updated_at: row.updated_at,
    last_login_at: row.last_login_at,
    ...locks,
  };
}
