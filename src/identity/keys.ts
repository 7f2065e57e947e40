/** API keys: services that call. Used alike by the admin endpoints and the command line. */
import type { Clock, WallMs } from '../clock.ts';
import { generateApiKey, readApiKey } from '../credentials/api-key.ts';
import type { RandomBytes } from '../credentials/base62.ts';
import type { KeySeal } from '../credentials/key-hmac.ts';
import { Refusal } from '../errors.ts';
import type { IdentityDatabase } from './database.ts';
import {
  countKeys,
  insertKey,
  type KeyUpdate,
  lockKeySealedSo,
  type PresentedKeyRow,
  previousSecret,
  rotateKeyRow,
  selectKey,
  selectKeyPresented,
  selectKeys,
  shownKey,
  updateKey,
} from './key-rows.ts';
import type { KeyUse } from './key-use.ts';
import { endSessions, endSessionsOfOtherSecrets } from './session-rows.ts';
import type { Key, KeyChanges, KeyWithSecret, List, NewKey, Page } from './shapes.ts';
import { flag, flagChanges, timeOf, timeText } from './subject.ts';
import type { KeyRow, Time } from './tables.ts';
import { selectUser } from './user-rows.ts';

export interface KeysDeps {
  readonly database: IdentityDatabase;
  readonly seal: KeySeal;
  readonly use: Pick<KeyUse, 'note'>;
  /** Such as `mcp_`. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

/** A key that somebody has shown to hold. */
export interface HeldKey {
  readonly row: KeyRow;
  /** Which of its secrets was shown, sealed. */
  readonly secretHmac: string;
  /** Neither that secret nor what is made from it works from this moment on. */
  readonly endsAt: Time | null;
}

export class Keys {
  readonly #deps: KeysDeps;

  constructor(deps: KeysDeps) {
    this.#deps = deps;
  }

  /** What every key of ours starts with. */
  get prefix(): string {
    return this.#deps.prefix;
  }

  /**
   * @param createdBy the subject of who makes it
   * @throws Refusal `validation_failed` when `expires_at` is not ahead, or `owner` is nobody
   */
  async create(key: NewKey, createdBy: string): Promise<KeyWithSecret> {
    const { row, text } = this.newRow(key, createdBy);
    await this.#requireOwner(row.owner_id);
    await this.#deps.database.run((tables) => insertKey(tables, row));
    return { ...shownKey(row, this.#deps.clock.wallMs()), key: text };
  }

  /** @param filter `idle`: only keys never used, or not for 90 days */
  list(page: Page, { idle = false }: { readonly idle?: boolean } = {}): Promise<List<Key>> {
    const now = this.#deps.clock.wallMs();
    const idleAt = idle ? now : undefined;
    return this.#deps.database.run(async (tables) => {
      const rows = await selectKeys(tables, page, idleAt);
      const { page: number, page_size } = page;
      const total = await countKeys(tables, idleAt);
      return { items: rows.map((row) => shownKey(row, now)), total, page: number, page_size };
    });
  }

  /** @throws Refusal `resource_not_found` */
  async get(id: string): Promise<Key> {
    const row = await this.#deps.database.run((tables) => selectKey(tables, id));
    if (row === undefined) throw new Refusal('resource_not_found');
    return shownKey(row, this.#deps.clock.wallMs());
  }

  /** @throws Refusal `resource_not_found`, `validation_failed` */
  async patch(id: string, changes: KeyChanges): Promise<Key> {
    const { expires_at, name, description, owner } = changes;
    await this.#requireOwner(owner ?? null);
    return this.#change(id, {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(expires_at !== undefined && { expires_at: storedTime(expires_at) }),
      ...(owner !== undefined && { owner_id: owner }),
      ...flagChanges(changes),
    });
  }

  /** Sets whether the key works, or flips it; the sessions of one that does not are ended. @throws Refusal `resource_not_found` */
  toggle(id: string, active?: boolean): Promise<Key> {
    return this.#change(id, { is_active: active === undefined ? 'flip' : flag(active) });
  }

  /**
   * A new secret for the same id. The old one and the sessions made from it go on for `overlapMs`, then they are dead;
   * one that was older still is dead at once.
   * @param overlapMs 0 to 7 days; 0 ends the old one at once
   * @throws Refusal `resource_not_found`
   */
  async rotate(id: string, overlapMs = 0): Promise<KeyWithSecret> {
    const { text } = generateApiKey(this.#deps.prefix, this.#deps.random, id);
    const wallMs = this.#deps.clock.wallMs();
    const now = timeText(wallMs);
    const until = overlapMs === 0 ? null : timeText((wallMs + overlapMs) as WallMs);
    const sealed = this.#deps.seal.seal(text);
    const row = await this.#deps.database.settled(
      async (tables) => {
        const rotated = await rotateKeyRow(tables, id, sealed, until, now);
        if (rotated === undefined) throw new Refusal('resource_not_found');
        await endSessionsOfOtherSecrets(tables, rotated, now);
        return rotated;
      },
      (tables) => lockKeySealedSo(tables, id, sealed),
    );
    return { ...shownKey(row, wallMs), key: text };
  }

  /** Its sessions go with it. @throws Refusal `resource_not_found` */
  async delete(id: string): Promise<void> {
    const { numDeletedRows } = await this.#deps.database.transaction((tables) =>
      tables.deleteFrom('api_keys').where('id', '=', id).executeTakeFirstOrThrow(),
    );
    if (numDeletedRows === 0n) throw new Refusal('resource_not_found');
  }

  /**
   * The key, if the text is it and it may be used now. Unknown or wrong takes the same work.
   * @throws Refusal `invalid_credential` with its reason, `store_unavailable`
   */
  async authenticate(text: string): Promise<HeldKey> {
    const { id } = readApiKey(this.#deps.prefix, text);
    const row = await this.#deps.database.run((tables) => selectKeyPresented(tables, id));
    const now = timeText(this.#deps.clock.wallMs());
    const previous = row && previousSecret(row);
    // Both are always looked at: a key without a previous secret must take as long as one with it.
    const matches = this.#deps.seal.matches(row, text);
    const matchesPrevious = this.#deps.seal.matches(previous, text);
    if (row === undefined) throw new Refusal('invalid_credential', { reason: 'unknown_key' });
    const secretHmac = matches ? row.secret_hmac : matchesPrevious ? previous?.secret_hmac : undefined;
    if (secretHmac === undefined) throw new Refusal('invalid_credential', { reason: 'wrong_secret' });
    const endsAt = matches ? row.expires_at : earlier(row.expires_at, row.previous_until);
    requireUsable({ ...row, expires_at: endsAt }, now);
    this.#deps.use.note(id);
    return { row, secretHmac, endsAt };
  }

  /** Notes that a key was accepted which was authenticated before. */
  noteUse(id: string): void {
    this.#deps.use.note(id);
  }

  /** Checks and fills in everything, and stores nothing. @throws Refusal `validation_failed` */
  newRow(key: NewKey, createdBy: string): { readonly row: KeyRow; readonly text: string } {
    const now = timeText(this.#deps.clock.wallMs());
    const expires_at = storedTime(key.expires_at ?? null);
    if (expires_at !== null && expires_at <= now) throw wrongExpiry('must be in the future');
    const { id, text } = generateApiKey(this.#deps.prefix, this.#deps.random);
    const row: KeyRow = {
      id,
      name: key.name,
      description: key.description ?? null,
      ...this.#deps.seal.seal(text),
      can_create: flag(key.can_create),
      can_read: flag(key.can_read),
      can_update: flag(key.can_update),
      can_delete: flag(key.can_delete),
      is_active: 1,
      expires_at,
      created_at: now,
      updated_at: now,
      created_by: createdBy,
      owner_id: key.owner ?? null,
      last_used_at: null,
      rotated_at: null,
      previous_hmac: null,
      previous_hmac_key: null,
      previous_until: null,
    };
    return { row, text };
  }

  /** Users are disabled, never deleted, so whoever is here stays. @throws Refusal `validation_failed` */
  async #requireOwner(id: string | null): Promise<void> {
    if (id === null) return;
    const user = await this.#deps.database.run((tables) => selectUser(tables, id));
    if (user !== undefined) return;
    throw new Refusal('validation_failed', { errors: [{ field: 'owner', message: 'no user has this id' }] });
  }

  /** The sessions of a key that is disabled after the change end. */
  #change(id: string, changes: KeyUpdate): Promise<Key> {
    const wallMs = this.#deps.clock.wallMs();
    const now = timeText(wallMs);
    return this.#deps.database.transaction(async (tables) => {
      const row = await updateKey(tables, id, changes, now);
      if (row === undefined) throw new Refusal('resource_not_found');
      if (row.is_active === 0) await endSessions(tables, { kind: 'key', id }, 'disabled', now);
      return shownKey(row, wallMs);
    });
  }
}

/** What a key's row must say for it to be used at this moment, directly or by a token made from it. */
export function requireUsable(
  row: Pick<PresentedKeyRow, 'is_active' | 'expires_at' | 'owner_is_active'>,
  now: Time,
): void {
  // A key that belongs to a user is worth no more than that user.
  if (row.is_active !== 1 || row.owner_is_active === 0)
    throw new Refusal('invalid_credential', { reason: 'disabled' });
  if (row.expires_at !== null && row.expires_at <= now) {
    throw new Refusal('invalid_credential', { reason: 'expired' });
  }
}

/** The earlier of two moments, of which `null` is never. */
export function earlier(one: Time | null, other: Time | null): Time | null {
  if (one === null || other === null) return one ?? other;
  return one < other ? one : other;
}

function storedTime(text: string | null): Time | null {
  if (text === null) return null;
  const time = timeOf(text);
  if (Number.isNaN(time)) throw wrongExpiry('a time in ISO 8601, like 2030-12-31T23:59:59Z');
  return timeText(time);
}

function wrongExpiry(message: string): Refusal {
  return new Refusal('validation_failed', { errors: [{ field: 'expires_at', message }] });
}
