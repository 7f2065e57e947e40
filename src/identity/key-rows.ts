/** The statements on API keys; each takes a connection or a transaction. */
import { sql } from 'kysely';
import type { WallMs } from '../clock.ts';
import type { SealedKey } from '../credentials/key-hmac.ts';
import { keyIdleMs } from '../limits.ts';
import type { Tables } from './database.ts';
import type { Key, Page } from './shapes.ts';
import { timeOf, timeText } from './subject.ts';
import type { Flag, KeyRow, Time } from './tables.ts';

/** Columns to set; `flip` turns `is_active` around in the statement itself. */
export type KeyUpdate = Partial<Omit<KeyRow, 'id' | 'is_active'>> & { is_active?: Flag | 'flip' };

export function selectKey(tables: Tables, id: string): Promise<KeyRow | undefined> {
  return tables.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst();
}

/** A key's row, and whether the user that it belongs to is active; null where it belongs to nobody. */
export type PresentedKeyRow = KeyRow & { readonly owner_is_active: Flag | null };

/**
 * The same, for someone who presents the key: a row is read whether there is one or not, so that an unknown key takes
 * as long as any other (attacks 29).
 */
export async function selectKeyPresented(tables: Tables, id: string): Promise<PresentedKeyRow | undefined> {
  const row = await tables
    .selectFrom(sql<{ one: number }>`(select 1 as one)`.as('always'))
    .leftJoin('api_keys', (join) => join.on('api_keys.id', '=', id))
    .leftJoin('users', 'users.id', 'api_keys.owner_id')
    .selectAll('api_keys')
    .select('users.is_active as owner_is_active')
    .$castTo<PresentedKeyRow | { id: null }>()
    .executeTakeFirstOrThrow();
  return row.id === null ? undefined : row;
}

export async function insertKey(tables: Tables, row: KeyRow): Promise<void> {
  await tables.insertInto('api_keys').values(row).execute();
}

/** Oldest first. @param idleAt only keys that were idle at that moment */
export function selectKeys(tables: Tables, { page, page_size }: Page, idleAt?: WallMs): Promise<KeyRow[]> {
  return keysQuery(tables, idleAt)
    .selectAll()
    .orderBy('created_at')
    .orderBy('id')
    .limit(page_size)
    .offset((page - 1) * page_size)
    .execute();
}

export async function countKeys(tables: Tables, idleAt?: WallMs): Promise<number> {
  const { count } = await keysQuery(tables, idleAt)
    .select((row) => row.fn.countAll().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
}

function keysQuery(tables: Tables, idleAt: WallMs | undefined) {
  return tables
    .selectFrom('api_keys')
    .$if(idleAt !== undefined, (query) =>
      query.where(({ eb, or }) =>
        or([
          eb('last_used_at', 'is', null),
          eb('last_used_at', '<=', timeText(((idleAt ?? 0) - keyIdleMs) as WallMs)),
        ]),
      ),
    );
}

/**
 * Gives a key another secret. The one it had becomes the previous one in the same statement, so that of two rotations
 * at once the second ends what the first has given out, as it would a moment later.
 * @param previousUntil the previous secret works before this moment; `null` keeps none
 * @returns the row as it is now; `undefined` when there is no such key
 */
export function rotateKeyRow(
  tables: Tables,
  id: string,
  { secret_hmac, hmac_key }: SealedKey,
  previousUntil: Time | null,
  now: Time,
): Promise<KeyRow | undefined> {
  return tables
    .updateTable('api_keys')
    .set(({ ref }) => ({
      previous_hmac: previousUntil === null ? null : ref('secret_hmac'),
      previous_hmac_key: previousUntil === null ? null : ref('hmac_key'),
      previous_until: previousUntil,
      secret_hmac,
      hmac_key,
      rotated_at: now,
      updated_at: now,
    }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
}

/** The key's row, if this is its secret. Locks the row: a rotation that is still under way is waited for. */
export async function lockKeySealedSo(
  tables: Tables,
  id: string,
  { secret_hmac }: SealedKey,
): Promise<KeyRow | undefined> {
  const row = await tables
    .updateTable('api_keys')
    .set(({ ref }) => ({ secret_hmac: ref('secret_hmac') }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
  return row?.secret_hmac === secret_hmac ? row : undefined;
}

/** The secret before the last rotation, while the row holds it. */
export function previousSecret({ previous_hmac, previous_hmac_key }: KeyRow): SealedKey | undefined {
  if (previous_hmac === null || previous_hmac_key === null) return undefined;
  return { secret_hmac: previous_hmac, hmac_key: previous_hmac_key };
}

/** @returns the row as it is now; `undefined` when there is no such key */
export function updateKey(
  tables: Tables,
  id: string,
  { is_active: active, ...columns }: KeyUpdate,
  now: Time,
): Promise<KeyRow | undefined> {
  return tables
    .updateTable('api_keys')
    .set({ ...columns, updated_at: now })
    .$if(active !== undefined, (update) =>
      update.set({ is_active: active === 'flip' ? sql<Flag>`1 - is_active` : (active ?? 1) }),
    )
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirst();
}

/** @param now decides what is idle */
export function shownKey(row: KeyRow, now: WallMs): Key {
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    can_create: row.can_create === 1,
    can_read: row.can_read === 1,
    can_update: row.can_update === 1,
    can_delete: row.can_delete === 1,
    is_active: row.is_active === 1,
    expires_at: row.expires_at,
    created_at: row.created_at,
    updated_at: row.updated_at,
    created_by: row.created_by,
    owner: row.owner_id,
    last_used_at: row.last_used_at,
    idle: row.last_used_at === null || timeOf(row.last_used_at) <= now - keyIdleMs,
    rotated_at: row.rotated_at,
    previous_valid_until: row.previous_until,
  };
}
