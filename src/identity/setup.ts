/** The first admin and the first API key: made once, by whoever comes first. */
import type { IdentityDatabase, Tables } from './database.ts';
import { insertKey, shownKey } from './key-rows.ts';
import type { Keys } from './keys.ts';
import type { KeyWithSecret, User } from './shapes.ts';
import { subjectText, timeOf } from './subject.ts';
import type { Time } from './tables.ts';
import { countUsers, insertUser, shownUser } from './user-rows.ts';
import type { Users } from './users.ts';

const noPermissions = { can_create: false, can_read: false, can_update: false, can_delete: false };

/** The only time these secrets are shown. */
export interface FirstSecrets {
  readonly admin: User;
  readonly password: string;
  /** Whether the password was made up here, so that it has to be shown. */
  readonly passwordGenerated: boolean;
  readonly key: KeyWithSecret;
}

export interface SetupDeps {
  readonly database: IdentityDatabase;
  readonly users: Users;
  readonly keys: Keys;
}

/**
 * Creates user `admin` and a key that may read, create and update, both or neither.
 * @returns `undefined` when there are users already, or another process was first
 * @throws Refusal `validation_failed` when the password given is not acceptable
 */
export async function setUp(deps: SetupDeps, adminPassword?: string): Promise<FirstSecrets | undefined> {
  const { database, users, keys } = deps;
  const password = adminPassword ?? users.generatePassword();
  const admin = await users.newRow({ ...noPermissions, username: 'admin', password, is_admin: true });
  const createdBy = subjectText({ kind: 'user', id: admin.id });
  const permissions = { ...noPermissions, can_read: true, can_create: true, can_update: true };
  const first = keys.newRow({ name: 'default', description: 'Made by setup.', ...permissions }, createdBy);
  const done = await database.transaction(async (tables) => {
    if (!(await claim(tables, admin.created_at))) return false;
    await insertUser(tables, admin);
    await insertKey(tables, first.row);
    return true;
  });
  if (!done) return undefined;
  return {
    admin: shownUser(admin, { locked_until: null, locked_addresses: 0 }),
    password,
    passwordGenerated: adminPassword === undefined,
    key: { ...shownKey(first.row, timeOf(first.row.created_at)), key: first.text },
  };
}

/** The primary key lets one pass; the row is never removed, so that a setup cannot be had twice. */
async function claim(tables: Tables, now: Time): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tables
    .insertInto('setup')
    .values({ id: 1, done_at: now })
    .onConflict((conflict) => conflict.column('id').doNothing())
    .executeTakeFirstOrThrow();
  return numInsertedOrUpdatedRows === 1n && (await countUsers(tables)) === 0;
}
