/** The statements on API keys; each takes a connection or a transaction. */
import { sql } from 'kysely';
import type { Tables } from './database.ts';
import type { Key } from './shapes.ts';
import type { Flag, KeyRow, Time } from './tables.ts';

/** Columns to set; `flip` turns `is_active` around in the statement itself. */
export type KeyUpdate = Partial<Omit<KeyRow, 'id' | 'is_active'>> & { is_active?: Flag | 'flip' };

export function selectKey(tables: Tables, id: string): Promise<KeyRow | undefined> {
  return tables.selectFrom('api_keys').selectAll().where('id', '=', id).executeTakeFirst();
}

export async function insertKey(tables: Tables, row: KeyRow): Promise<void> {
  await tables.insertInto('api_keys').values(row).execute();
}

export async function countKeys(tables: Tables): Promise<number> {
  const { count } = await tables
    .selectFrom('api_keys')
    .select((row) => row.fn.countAll().as('count'))
    .executeTakeFirstOrThrow();
  return Number(count);
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

export function shownKey(row: KeyRow): Key {
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
    last_used_at: row.last_used_at,
    rotated_at: row.rotated_at,
  };
}
