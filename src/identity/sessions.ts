/** Sessions: what a login opens and its tokens live in. A token whose session has ended is dead at once. */
import { LRUCache } from 'lru-cache';
import type { Clock, WallMs } from '../clock.ts';
import { Refusal } from '../errors.ts';
import { unansweredSessionsMax } from '../limits.ts';
import { type IdentityDatabase, isInDoubt, type Tables } from './database.ts';
import { earlier, type HeldKey } from './keys.ts';
import {
  endSession,
  endSessions,
  insertSession,
  lockRefreshId,
  type Rotation,
  rotateSession,
  type SessionOwner,
  selectSessionOwner,
} from './session-rows.ts';
import { type Subject, timeText } from './subject.ts';
import type { EndReason, Time, UserRow } from './tables.ts';

/** Whoever has just proven to be this user, or to hold this key. */
export type Holder =
  | { readonly kind: 'user'; readonly row: UserRow }
  | { readonly kind: 'key'; readonly held: HeldKey };

/** A refresh token that was presented when the database went away, so that its holder was told nothing. */
interface Unanswered {
  /** Its `jti`. */
  readonly presented: string;
  /** Which of these works now is not known. Nobody was ever given any other than the one presented. */
  readonly perhaps: readonly string[];
}

export class Sessions {
  readonly #database: IdentityDatabase;
  readonly #clock: Clock;
  /** By session. */
  readonly #unanswered = new LRUCache<string, Unanswered>({ max: unansweredSessionsMax });

  constructor(database: IdentityDatabase, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /**
   * Opens a session, unless the holder's password or secret was changed since it was checked: an Argon2 hash
   * takes long enough for an incident's reset to come in between.
   * @throws Refusal `invalid_credential` with reason `revoked`
   */
  async begin(holder: Holder, id: string, refreshTokenId: string, expiresAt: WallMs): Promise<void> {
    const now = timeText(this.#clock.wallMs());
    const subject = subjectOf(holder);
    await this.#database.transaction(async (tables) => {
      if (!(await recordLogin(tables, holder, now))) throw revoked();
      await insertSession(tables, subject, {
        id,
        user_id: holder.kind === 'user' ? subject.id : null,
        key_id: holder.kind === 'key' ? subject.id : null,
        key_hmac: holder.kind === 'key' ? holder.held.secretHmac : null,
        refresh_jti: refreshTokenId,
        created_at: now,
        refreshed_at: now,
        expires_at: timeText(expiresAt),
        ended_at: null,
        ended_reason: null,
      });
    });
  }

  /**
   * The session's owner as of now.
   * @throws Refusal `invalid_credential` with reason `revoked`: ended, cleared away, or not this subject's
   */
  async owner(id: string, subject: Subject): Promise<SessionOwner> {
    const owner = await this.#database.run((tables) => selectSessionOwner(tables, id));
    const ownerId = subject.kind === 'user' ? owner?.user_id : owner?.key_id;
    if (owner === undefined || owner.ended_at !== null || ownerId !== subject.id) throw revoked();
    return { ...owner, key_expires_at: secretEnd(owner) };
  }

  /**
   * Puts `next` in the place of the refresh token presented.
   * @throws Refusal `invalid_credential` with reason `reused` when it was not the current one any more, which ends
   *   the session: one of the two who hold that token has stolen it (RFC 9700 §4.14.2)
   */
  async rotate(id: string, presented: string, next: string, expiresAt: WallMs): Promise<void> {
    const current = await this.#standsFor(id, presented);
    try {
      await this.#rotate({ id, presented: current, next }, expiresAt);
      this.#unanswered.delete(id);
    } catch (error) {
      // Whoever was told nothing will come again with the same token, and has not stolen it.
      if (isInDoubt(error)) this.#unanswered.set(id, { presented, perhaps: [current, next] });
      throw error;
    }
  }

  /** The refresh token that works in the place of the one presented, when that was exchanged and nobody was told. */
  async #standsFor(id: string, presented: string): Promise<string> {
    const unanswered = this.#unanswered.get(id);
    if (unanswered?.presented !== presented) return presented;
    const current = await this.#database.transaction((tables) => lockRefreshId(tables, id));
    return unanswered.perhaps.find((perhaps) => perhaps === current) ?? presented;
  }

  async #rotate(rotation: Rotation, expiresAt: WallMs): Promise<void> {
    const { id, next } = rotation;
    const now = timeText(this.#clock.wallMs());
    const rotated = await this.#database.settled(
      async (tables) => {
        if (await rotateSession(tables, rotation, now, timeText(expiresAt))) return true;
        await endSession(tables, id, 'reused', now);
        return false;
      },
      async (tables) => (await lockRefreshId(tables, id)) === next || undefined,
    );
    if (!rotated) {
      throw new Refusal('invalid_credential', { reason: 'reused', incident: 'refresh_reuse' });
    }
  }

  /** Ends one session; one that has ended stays as it is. */
  end(id: string, reason: EndReason): Promise<void> {
    const now = timeText(this.#clock.wallMs());
    return this.#database.transaction((tables) => endSession(tables, id, reason, now));
  }

  /** Ends all sessions of a user or key. */
  endAllOf(subject: Subject, reason: EndReason): Promise<void> {
    const now = timeText(this.#clock.wallMs());
    return this.#database.transaction((tables) => endSessions(tables, subject, reason, now));
  }
}

/** Writes and checks in one statement. */
async function recordLogin(tables: Tables, holder: Holder, now: Time): Promise<boolean> {
  const update =
    holder.kind === 'user'
      ? tables
          .updateTable('users')
          .set({ last_login_at: now })
          .where('id', '=', holder.row.id)
          .where('is_active', '=', 1)
          .where('password_hash', '=', holder.row.password_hash)
      : tables
          .updateTable('api_keys')
          .set({ last_used_at: now })
          .where('id', '=', holder.held.row.id)
          .where('is_active', '=', 1)
          .where(({ eb, or, exists, selectFrom, val }) =>
            or([
              eb('owner_id', 'is', null),
              exists(
                selectFrom('users')
                  .select(val(1).as('one'))
                  .whereRef('users.id', '=', 'api_keys.owner_id')
                  .where('users.is_active', '=', 1),
              ),
            ]),
          )
          .where(({ eb, or }) =>
            or([
              eb('secret_hmac', '=', holder.held.secretHmac),
              eb('previous_hmac', '=', holder.held.secretHmac),
            ]),
          );
  return (await update.executeTakeFirstOrThrow()).numUpdatedRows === 1n;
}

export function subjectOf(holder: Holder): Subject {
  return { kind: holder.kind, id: holder.kind === 'user' ? holder.row.id : holder.held.row.id };
}

/** When the secret that a key's session was opened with ends; `null` is never. A session of a secret that is gone is dead. */
function secretEnd(owner: SessionOwner): Time | null {
  if (owner.key_id === null || owner.key_hmac === owner.secret_hmac) return owner.key_expires_at;
  if (owner.key_hmac !== owner.previous_hmac) throw revoked();
  return earlier(owner.key_expires_at, owner.previous_until);
}

function revoked(): Refusal {
  return new Refusal('invalid_credential', { reason: 'revoked' });
}
