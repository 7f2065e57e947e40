/** API keys: services that call. Used alike by the admin endpoints and the command line. */
import type { Clock } from '../clock.ts';
import { generateApiKey, readApiKey } from '../credentials/api-key.ts';
import type { RandomBytes } from '../credentials/base62.ts';
import type { KeySeal } from '../credentials/key-hmac.ts';
import { Refusal } from '../errors.ts';
import type { IdentityDatabase } from './database.ts';
import { countKeys, insertKey, type KeyUpdate, selectKey, shownKey, updateKey } from './key-rows.ts';
import type { KeyUse } from './key-use.ts';
import { endSessions } from './session-rows.ts';
import type { Key, KeyChanges, KeyWithSecret, List, NewKey, Page } from './shapes.ts';
import { flag, flagChanges, timeOf, timeText } from './subject.ts';
import type { EndReason, KeyRow, Time } from './tables.ts';

export interface KeysDeps {
  readonly database: IdentityDatabase;
  readonly seal: KeySeal;
  readonly use: KeyUse;
  /** Such as `mcp_`. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: RandomBytes;
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
   * @throws Refusal `validation_failed` when `expires_at` is not ahead
   */
  async create(key: NewKey, createdBy: string): Promise<KeyWithSecret> {
    const { row, text } = this.newRow(key, createdBy);
    await this.#deps.database.run((tables) => insertKey(tables, row));
    return { ...shownKey(row), key: text };
  }

  list({ page, page_size }: Page): Promise<List<Key>> {
    return this.#deps.database.run(async (tables) => {
      const rows = await tables
        .selectFrom('api_keys')
        .selectAll()
        .orderBy('created_at')
        .orderBy('id')
        .limit(page_size)
        .offset((page - 1) * page_size)
        .execute();
      return { items: rows.map(shownKey), total: await countKeys(tables), page, page_size };
    });
  }

  /** @throws Refusal `resource_not_found` */
  async get(id: string): Promise<Key> {
    const row = await this.#deps.database.run((tables) => selectKey(tables, id));
    if (row === undefined) throw new Refusal('resource_not_found');
    return shownKey(row);
  }

  /** @throws Refusal `resource_not_found`, `validation_failed` */
  async patch(id: string, changes: KeyChanges): Promise<Key> {
    const { expires_at, name, description } = changes;
    return this.#change(id, undefined, {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(expires_at !== undefined && { expires_at: storedTime(expires_at) }),
      ...flagChanges(changes),
    });
  }

  /** Sets whether the key works, or flips it; the sessions of one that does not are ended. @throws Refusal `resource_not_found` */
  toggle(id: string, active?: boolean): Promise<Key> {
    return this.#change(id, 'disabled', { is_active: active === undefined ? 'flip' : flag(active) });
  }

  /** A new secret for the same id; the old one and its sessions are dead at once. @throws Refusal `resource_not_found` */
  async rotate(id: string): Promise<KeyWithSecret> {
    const { text } = generateApiKey(this.#deps.prefix, this.#deps.random, id);
    const now = timeText(this.#deps.clock.wallMs());
    const key = await this.#change(id, 'rotated', { ...this.#deps.seal.seal(text), rotated_at: now });
    return { ...key, key: text };
  }

  /** Its sessions go with it. @throws Refusal `resource_not_found` */
  async delete(id: string): Promise<void> {
    const { numDeletedRows } = await this.#deps.database.run((tables) =>
      tables.deleteFrom('api_keys').where('id', '=', id).executeTakeFirstOrThrow(),
    );
    if (numDeletedRows === 0n) throw new Refusal('resource_not_found');
  }

  /**
   * The key's row, if the text is that key and it may be used now. Unknown or wrong takes the same work.
   * @throws Refusal `invalid_credential` with its reason, `store_unavailable`
   */
  async authenticate(text: string): Promise<KeyRow> {
    const { id } = readApiKey(this.#deps.prefix, text);
    const row = await this.#deps.database.run((tables) => selectKey(tables, id));
    const matches = this.#deps.seal.matches(row, text);
    if (row === undefined) throw new Refusal('invalid_credential', { reason: 'unknown_key' });
    if (!matches) throw new Refusal('invalid_credential', { reason: 'wrong_secret' });
    requireUsable(row, timeText(this.#deps.clock.wallMs()));
    this.#deps.use.note(id);
    return row;
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
      last_used_at: null,
      rotated_at: null,
    };
    return { row, text };
  }

  /** @param ends why the key's sessions end, if they do: `disabled` only where the key is, after the change */
  #change(id: string, ends: EndReason | undefined, changes: KeyUpdate): Promise<Key> {
    const now = timeText(this.#deps.clock.wallMs());
    return this.#deps.database.transaction(async (tables) => {
      const row = await updateKey(tables, id, changes, now);
      if (row === undefined) throw new Refusal('resource_not_found');
      if (ends === 'rotated' || (ends === 'disabled' && row.is_active === 0)) {
        await endSessions(tables, { kind: 'key', id }, ends, now);
      }
      return shownKey(row);
    });
  }
}

/** What a key's row must say for it to be used at this moment, directly or by a token made from it. */
export function requireUsable(row: Pick<KeyRow, 'is_active' | 'expires_at'>, now: Time): void {
  if (row.is_active !== 1) throw new Refusal('invalid_credential', { reason: 'disabled' });
  if (row.expires_at !== null && row.expires_at <= now) {
    throw new Refusal('invalid_credential', { reason: 'expired' });
  }
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
