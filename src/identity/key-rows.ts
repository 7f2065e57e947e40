/** The statements on API keys; each takes a connection or a transaction. */
import { PostgresAdapter, sql } from 'kysely';
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

/** All of them, by name. */
const keyColumns = Object.keys({
  id: true,
  name: true,
  description: true,
  secret_hmac: true,
  hmac_key: true,
  can_create: true,
  can_read: true,
  can_update: true,
  can_delete: true,
  is_active: true,
  expires_at: true,
  created_at: true,
  updated_at: true,
  created_by: true,
  owner_id: true,
  last_used_at: true,
  rotated_at: true,
  previous_hmac: true,
  previous_hmac_key: true,
  previous_until: true,
} satisfies Record<keyof KeyRow, true>);
const presentedColumns = sql.raw(
  [...keyColumns.map((name) => `api_keys.${name}`), 'users.is_active as owner_is_active'].join(', '),
);

/**
 * The same, for someone who presents the key: a row is read whether there is one or not, so that an unknown key takes
 * as long as any other (attacks 29). Every first-seen key and every guess comes here, so it is written out: to put it
 * together takes longer than to run it, and naming the columns lets SQLite keep it prepared.
 */
export async function selectKeyPresented(tables: Tables, id: string): Promise<PresentedKeyRow | undefined> {
  const { rows } = await sql<PresentedKeyRow | { id: null }>`
    select ${presentedColumns} from (select 1 as one) as always
      left join api_keys on api_keys.id = ${id} left join users on users.id = api_keys.owner_id`.execute(
    tables,
  );
  const [row] = rows;
  return row === undefined || row.id === null ? undefined : row;
}

/**
 * Writes when keys were last used, many in one statement. A key that another replica saw later, or that is gone, stays
 * as it is. The rows are locked in one order, so that no two replicas wait for each other.
 * @param uses by id
 */
export async function updateKeyUses(tables: Tables, uses: Readonly<Record<string, Time>>): Promise<void> {
  const json = JSON.stringify(uses);
  const isPostgres = tables.getExecutor().adapter instanceof PostgresAdapter;
  const statement = isPostgres
    ? sql`with noted as (select key, value from json_each_text(${json}::json)),
        locked as (select id from api_keys where id in (select key from noted) order by id for no key update)
        update api_keys set last_used_at = noted.value from noted, locked
        where api_keys.id = locked.id and noted.key = locked.id
          and (last_used_at is null or last_used_at < noted.value)`
    : sql`update api_keys set last_used_at = noted.value from json_each(${json}) as noted
        where api_keys.id = noted.key and (last_used_at is null or last_used_at < noted.value)`;
  await statement.execute(tables);
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
