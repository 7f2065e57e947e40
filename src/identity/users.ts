/** Users: people who log in. Used alike by the admin endpoints and the command line. */
import type { Clock } from '../clock.ts';
import { type RandomBytes, randomBase62 } from '../credentials/base62.ts';
import { requireAcceptable } from '../credentials/password-policy.ts';
import type { Passwords, Verify } from '../credentials/passwords.ts';
import { type Incident, type Reason, Refusal } from '../errors.ts';
import type { IdentityDatabase, Tables } from './database.ts';
import { deleteLocks, type LocksShown, selectLocksShown, usernameKey } from './lock-rows.ts';
import type { Lockout } from './lockout.ts';
import { endSessions, endSessionsOfOwnedKeys } from './session-rows.ts';
import type { List, NewUser, Page, User, UserChanges } from './shapes.ts';
import { flag, flagChanges, subjectText, timeText } from './subject.ts';
import type { UserRow } from './tables.ts';
import {
  countUsers,
  insertUser,
  selectUser,
  shownUser,
  type UserUpdate,
  updatePassword,
  updateUnlessLastAdmin,
} from './user-rows.ts';

const userIdChars = 12;
/** 24 base62 characters are 142 bits. */
const generatedPasswordChars = 24;

export interface UsersDeps {
  readonly database: IdentityDatabase;
  readonly passwords: Passwords;
  readonly lockout: Lockout;
  readonly clock: Clock;
  readonly random: RandomBytes;
}

/** A password that somebody who knows the current one wants to change. */
export interface PasswordChange {
  readonly id: string;
  readonly current: string;
  readonly next: string;
  /** Where the try comes from; see `Lockout`. */
  readonly clientAddress: string;
  /** The session that stays. */
  readonly sessionId: string | undefined;
}

const unlocked: LocksShown = { locked_until: null, locked_addresses: 0 };

export class Users {
  readonly #deps: UsersDeps;

  constructor(deps: UsersDeps) {
    this.#deps = deps;
  }

  /** @throws Refusal `validation_failed` (the password), `conflict` (the name is taken), `overloaded` */
  async create(user: NewUser): Promise<User> {
    const row = await this.newRow(user);
    const inserted = await this.#deps.database.run((tables) => insertUser(tables, row));
    if (!inserted) throw new Refusal('conflict', { detail: 'This username is taken.' });
    return shownUser(row, unlocked);
  }

  list({ page, page_size }: Page): Promise<List<User>> {
    return this.#deps.database.run(async (tables) => {
      const rows = await tables
        .selectFrom('users')
        .selectAll()
        .orderBy('created_at')
        .orderBy('id')
        .limit(page_size)
        .offset((page - 1) * page_size)
        .execute();
      return { items: await this.#shown(tables, rows), total: await countUsers(tables), page, page_size };
    });
  }

  /** @throws Refusal `resource_not_found` */
  async get(id: string): Promise<User> {
    return this.#one(await this.#row(id));
  }

  /** By name, in any case; for the command line. @throws Refusal `resource_not_found` */
  async getByName(username: string): Promise<User> {
    const row = await this.#rowByName(username);
    if (row === undefined) throw new Refusal('resource_not_found');
    return this.#one(row);
  }

  /** The subject of the user of this name, in any case; `undefined` when there is none. */
  async subjectOf(username: string): Promise<string | undefined> {
    const row = await this.#rowByName(username);
    return row && subjectText({ kind: 'user', id: row.id });
  }

  /** @throws Refusal `resource_not_found`, `conflict` when it would leave no active admin */
  patch(id: string, changes: UserChanges): Promise<User> {
    return this.#change(id, {
      ...(changes.email !== undefined && { email: changes.email }),
      ...(changes.is_admin !== undefined && { is_admin: flag(changes.is_admin) }),
      ...flagChanges(changes),
    });
  }

  /**
   * Sets whether the user may log in, or flips it; the sessions of one who may not, and of that user's keys, are ended,
   * and the locks of one who may are lifted.
   * @throws Refusal `resource_not_found`, `conflict` when it would leave no active admin
   */
  toggle(id: string, active?: boolean): Promise<User> {
    return this.#change(id, { is_active: active === undefined ? 'flip' : flag(active) });
  }

  /**
   * Sets a new password, ends the user's sessions and lifts the locks: what was guessed was another password.
   * @param password generated unless given
   * @returns the password, to be shown once
   * @throws Refusal `resource_not_found`, `validation_failed`, `overloaded`
   */
  async resetPassword(id: string, password?: string): Promise<string> {
    const { username } = await this.#row(id);
    const next = password ?? this.generatePassword();
    requireAcceptable(next, username, 'password');
    await this.#setPassword(id, await this.#deps.passwords.hash(next));
    await this.#deps.database.run((tables) => deleteLocks(tables, username));
    return next;
  }

  /** Lifts the locks of a name: everyone may try again. @throws Refusal `resource_not_found` */
  async unlock(id: string): Promise<User> {
    const row = await this.#row(id);
    await this.#deps.database.run((tables) => deleteLocks(tables, row.username));
    return this.#one(row);
  }

  /**
   * Changes the password of someone who knows the current one; the user's other sessions end.
   * @throws Refusal `validation_failed` with reason `wrong_password`, or for the new one; `too_many_failures`,
   *   `conflict`, `overloaded`
   */
  async changePassword(change: PasswordChange): Promise<void> {
    const { id, current, next, clientAddress, sessionId } = change;
    const { username, password_hash: previous } = await this.#row(id);
    await this.#guarded(username, clientAddress, async (verify, wrong) => {
      if ((await verify(previous, current)).matches) return;
      const errors = [{ field: 'current_password', message: 'is not the current password' }];
      const incident = await wrong();
      throw new Refusal('validation_failed', { reason: 'wrong_password', incident, errors });
    });
    requireAcceptable(next, username, 'new_password');
    const hash = await this.#deps.passwords.hash(next);
    // Hashing takes a while. If an admin has reset the password since, the old one gives no right to change it.
    if (await this.#setPassword(id, hash, previous, sessionId)) return;
    throw new Refusal('conflict', { detail: 'The password was changed by someone else meanwhile.' });
  }

  /**
   * The user's row, if this is the password and the user is active. An unknown user takes the same work.
   * @param clientAddress where the try comes from; see `Lockout`
   * @throws Refusal `invalid_credential` with its reason, `too_many_failures`, `overloaded`, `store_unavailable`
   */
  async authenticate(username: string, password: string, clientAddress: string): Promise<UserRow> {
    const { lockout } = this.#deps;
    const proven = await this.#guarded(username, clientAddress, async (verify, wrong) => {
      const row = await this.#rowByName(username);
      const { matches, outdated } = await verify(row?.password_hash, password);
      const reason = whyRefused(row, matches);
      if (row === undefined || reason !== undefined) {
        throw new Refusal('invalid_credential', { ...(reason && { reason }), incident: await wrong() });
      }
      return { row, outdated };
    });
    await lockout.succeeded(lockout.attempt(username, clientAddress), proven.row.id);
    return proven.outdated ? this.#rehash(proven.row, password) : proven.row;
  }

  /** Checks, hashes and fills in everything, and stores nothing. @throws Refusal `validation_failed`, `overloaded` */
  async newRow(user: NewUser): Promise<UserRow> {
    requireAcceptable(user.password, user.username, 'password');
    const now = timeText(this.#deps.clock.wallMs());
    return {
      id: randomBase62(userIdChars, this.#deps.random),
      username: user.username,
      username_key: usernameKey(user.username),
      email: user.email ?? null,
      password_hash: await this.#deps.passwords.hash(user.password),
      can_create: flag(user.can_create),
      can_read: flag(user.can_read),
      can_update: flag(user.can_update),
      can_delete: flag(user.can_delete),
      is_admin: flag(user.is_admin),
      is_active: 1,
      created_at: now,
      updated_at: now,
      last_login_at: null,
    };
  }

  generatePassword(): string {
    return randomBase62(generatedPasswordChars, this.#deps.random);
  }

  /**
   * Checks a password where the lock allows it. Asked twice, since many who are let in to wait for a turn may all
   * fail; and what failed is written down within the turn, before the next one is given.
   */
  async #guarded<T>(
    username: string,
    clientAddress: string,
    work: (verify: Verify, wrong: () => Promise<Incident | undefined>) => Promise<T>,
  ): Promise<T> {
    const { lockout, passwords } = this.#deps;
    const attempt = lockout.attempt(username, clientAddress);
    await lockout.requireOpen(attempt);
    return passwords.inTurn(async (verify) => {
      await lockout.requireOpen(attempt);
      return work(verify, () => lockout.failed(attempt));
    });
  }

  async #one(row: UserRow): Promise<User> {
    const [user] = await this.#deps.database.run((tables) => this.#shown(tables, [row]));
    return user ?? shownUser(row, unlocked);
  }

  async #shown(tables: Tables, rows: readonly UserRow[]): Promise<User[]> {
    const names = rows.map(({ username }) => username);
    const locks = await selectLocksShown(tables, names, this.#deps.clock.wallMs());
    return rows.map((row) => shownUser(row, locks.get(row.username) ?? unlocked));
  }

  async #row(id: string): Promise<UserRow> {
    const row = await this.#deps.database.run((tables) => selectUser(tables, id));
    if (row === undefined) throw new Refusal('resource_not_found');
    return row;
  }

  #rowByName(username: string): Promise<UserRow | undefined> {
    const key = usernameKey(username);
    return this.#deps.database.run((tables) =>
      tables.selectFrom('users').selectAll().where('username_key', '=', key).executeTakeFirst(),
    );
  }

  /** A login is the only moment at which a hash can be brought up to today's parameters. */
  async #rehash(row: UserRow, password: string): Promise<UserRow> {
    const hash = await this.#deps.passwords.hash(password);
    const previous = row.password_hash;
    const now = row.updated_at;
    const kept = await this.#deps.database.run((tables) =>
      updatePassword(tables, row.id, hash, now, previous),
    );
    return kept ? { ...row, password_hash: hash } : row;
  }

  #change(id: string, changes: UserUpdate): Promise<User> {
    const now = timeText(this.#deps.clock.wallMs());
    return this.#deps.database.serialized(async (tables) => {
      const row = await updateUnlessLastAdmin(tables, id, changes, now);
      if (row === undefined) {
        const exists = (await selectUser(tables, id)) !== undefined;
        if (!exists) throw new Refusal('resource_not_found');
        throw new Refusal('conflict', { detail: 'This is the last active admin.' });
      }
      if (row.is_active === 0) {
        await endSessions(tables, { kind: 'user', id }, 'disabled', now);
        await endSessionsOfOwnedKeys(tables, id, now);
      } else if (changes.is_active !== undefined) await deleteLocks(tables, row.username);
      const [user] = await this.#shown(tables, [row]);
      return user ?? shownUser(row, unlocked);
    });
  }

  #setPassword(id: string, hash: string, previous?: string, keptSession?: string): Promise<boolean> {
    const now = timeText(this.#deps.clock.wallMs());
    return this.#deps.database.transaction(async (tables) => {
      const changed = await updatePassword(tables, id, hash, now, previous);
      if (changed) await endSessions(tables, { kind: 'user', id }, 'password_changed', now, keptSession);
      return changed;
    });
  }
}

function whyRefused(row: UserRow | undefined, matches: boolean): Reason | undefined {
  if (row === undefined) return 'unknown_user';
  if (!matches) return 'wrong_password';
  return row.is_active === 1 ? undefined : 'disabled';
}
