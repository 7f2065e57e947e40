/** The statements on sessions; each takes a connection or a transaction. */
import { sessionsPerSubjectMax } from '../limits.ts';
import type { Tables } from './database.ts';
import type { Subject } from './subject.ts';
import type { EndReason, KeyRow, SessionRow, Time } from './tables.ts';

/** How many dead rows one new session clears away: more than one, so that the table shrinks. */
const clearedAtOnce = 20;

/** Ends what is still open of one user's or key's sessions, but for `keptSession`. */
export async function endSessions(
  tables: Tables,
  subject: Subject,
  reason: EndReason,
  now: Time,
  keptSession?: string,
): Promise<void> {
  await tables
    .updateTable('sessions')
    .set({ ended_at: now, ended_reason: reason })
    .where(ownerColumn(subject), '=', subject.id)
    .where('ended_at', 'is', null)
    .$if(keptSession !== undefined, (update) => update.where('id', '<>', keptSession ?? ''))
    .execute();
}

/** Ends what is still open of the sessions of a user's keys. */
export async function endSessionsOfOwnedKeys(tables: Tables, userId: string, now: Time): Promise<void> {
  await tables
    .updateTable('sessions')
    .set({ ended_at: now, ended_reason: 'disabled' })
    .where('key_id', 'in', (keys) => keys.selectFrom('api_keys').select('id').where('owner_id', '=', userId))
    .where('ended_at', 'is', null)
    .execute();
}

/** Ends the sessions that were opened with a secret that the key's row no longer holds. */
export async function endSessionsOfOtherSecrets(
  tables: Tables,
  { id, secret_hmac, previous_hmac }: KeyRow,
  now: Time,
): Promise<void> {
  await tables
    .updateTable('sessions')
    .set({ ended_at: now, ended_reason: 'rotated' })
    .where('key_id', '=', id)
    .where('ended_at', 'is', null)
    // One that does not know its secret cannot be shown to have another.
    .where((where) =>
      where.or([
        where('key_hmac', 'is', null),
        where('key_hmac', 'not in', [secret_hmac, previous_hmac ?? secret_hmac]),
      ]),
    )
    .execute();
}

export async function endSession(tables: Tables, id: string, reason: EndReason, now: Time): Promise<void> {
  await tables
    .updateTable('sessions')
    .set({ ended_at: now, ended_reason: reason })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .execute();
}

/** Inserts a session, and keeps the table bounded: expired rows go, and so do a subject's oldest. */
export async function insertSession(tables: Tables, subject: Subject, row: SessionRow): Promise<void> {
  await tables.insertInto('sessions').values(row).execute();
  await tables
    .deleteFrom('sessions')
    .where('id', 'in', (expression) =>
      expression
        .selectFrom('sessions')
        .select('id')
        .where('expires_at', '<=', row.created_at)
        .limit(clearedAtOnce),
    )
    .execute();
  await tables
    .deleteFrom('sessions')
    .where('id', 'in', (expression) =>
      expression
        .selectFrom('sessions')
        .select('id')
        .where(ownerColumn(subject), '=', subject.id)
        .where('id', '<>', row.id)
        .orderBy('created_at', 'desc')
        .limit(clearedAtOnce)
        .offset(sessionsPerSubjectMax - 1),
    )
    .execute();
}

/** What a rotation puts in the place of what. */
export interface Rotation {
  /** The session's. */
  readonly id: string;
  /** `jti` of the refresh token that works until then. */
  readonly presented: string;
  /** And of the one that works from then on. */
  readonly next: string;
}

/**
 * Puts the next refresh token in the place of the one presented. One statement decides, so that of many who
 * present the same token at once exactly one gets a new one.
 */
export async function rotateSession(
  tables: Tables,
  session: Rotation,
  now: Time,
  expiresAt: Time,
): Promise<boolean> {
  const { numUpdatedRows } = await tables
    .updateTable('sessions')
    .set({ refresh_jti: session.next, refreshed_at: now, expires_at: expiresAt })
    .where('id', '=', session.id)
    .where('refresh_jti', '=', session.presented)
    .where('ended_at', 'is', null)
    .executeTakeFirstOrThrow();
  return numUpdatedRows === 1n;
}

/**
 * `jti` of the refresh token that works now; `undefined` when the session has ended. Locks the row: a rotation that
 * is still under way is waited for.
 */
export async function lockRefreshId(tables: Tables, id: string): Promise<string | undefined> {
  const row = await tables
    .updateTable('sessions')
    .set(({ ref }) => ({ refresh_jti: ref('refresh_jti') }))
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .returning('refresh_jti')
    .executeTakeFirst();
  return row?.refresh_jti;
}

/** A session and whoever it belongs to, as they are now. */
export function selectSessionOwner(tables: Tables, id: string) {
  return tables
    .selectFrom('sessions')
    .leftJoin('users', 'users.id', 'sessions.user_id')
    .leftJoin('api_keys', 'api_keys.id', 'sessions.key_id')
    .leftJoin('users as key_owner', 'key_owner.id', 'api_keys.owner_id')
    .where('sessions.id', '=', id)
    .select((row) => [
      'sessions.user_id',
      'sessions.key_id',
      'sessions.refresh_jti',
      'sessions.ended_at',
      'users.is_admin',
      'sessions.key_hmac',
      'api_keys.secret_hmac',
      'api_keys.previous_hmac',
      'api_keys.previous_until',
      'api_keys.expires_at as key_expires_at',
      'api_keys.owner_id as key_owner_id',
      'key_owner.is_active as owner_is_active',
      row.fn.coalesce('users.is_active', 'api_keys.is_active').as('is_active'),
      row.fn.coalesce('users.can_create', 'api_keys.can_create').as('can_create'),
      row.fn.coalesce('users.can_read', 'api_keys.can_read').as('can_read'),
      row.fn.coalesce('users.can_update', 'api_keys.can_update').as('can_update'),
      row.fn.coalesce('users.can_delete', 'api_keys.can_delete').as('can_delete'),
    ])
    .executeTakeFirst();
}

/** `key_expires_at` is when the secret that the session was opened with ends. */
export type SessionOwner = NonNullable<Awaited<ReturnType<typeof selectSessionOwner>>>;

function ownerColumn(subject: Subject): 'user_id' | 'key_id' {
  return subject.kind === 'user' ? 'user_id' : 'key_id';
}
