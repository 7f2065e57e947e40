/** `portcullis user …`: the admin endpoints' operations, for a shell with access to the database. */
import { newUserSchema, type User } from '../identity/shapes.ts';
import { allPages } from './all-pages.ts';
import { parseFields } from './fields.ts';
import { secretOf } from './secret.ts';
import { CommandError, type OutputOptions, show, type Terminal } from './terminal.ts';
import { withChange, withIdentity } from './with-identity.ts';

export interface UserCommandOptions extends OutputOptions {
  readonly config: string;
}

export interface CreateUserOptions extends UserCommandOptions {
  readonly username: string;
  readonly email?: string;
  readonly permissions?: string;
  readonly admin?: boolean;
  readonly passwordStdin?: boolean;
}

const permissionWords = ['create', 'read', 'update', 'delete'] as const;

/** `read,create` → the four `can_*` flags. @throws CommandError for another word */
export function permissionFlags(
  list: string | undefined,
): Record<`can_${(typeof permissionWords)[number]}`, boolean> {
  const words = (list ?? '').split(',').filter((word) => word !== '');
  for (const word of words) {
    if (!permissionWords.some((known) => known === word)) {
      throw new CommandError(
        `--permissions: ${JSON.stringify(word)} is none; write some of ${permissionWords.join(',')}`,
      );
    }
  }
  const has = (word: string) => words.includes(word);
  return {
    can_create: has('create'),
    can_read: has('read'),
    can_update: has('update'),
    can_delete: has('delete'),
  };
}

export async function createUser(terminal: Terminal, options: CreateUserOptions): Promise<void> {
  const fields = parseFields(newUserSchema.omit({ password: true }), {
    username: options.username,
    ...(options.email !== undefined && { email: options.email }),
    is_admin: options.admin === true,
    ...permissionFlags(options.permissions),
  });
  const given =
    options.passwordStdin === true ? await terminal.readLine() : secretOf(terminal, 'USER_PASSWORD');
  const made = await withChange(
    terminal,
    options.config,
    { command: 'user create' },
    async (identity) => {
      const password = given ?? identity.users.generatePassword();
      return { user: await identity.users.create({ ...fields, password }), password };
    },
    (result) => result.user.id,
  );
  const { user, password } = made;
  const value = { ...user, ...(given === undefined && { password }) };
  const lines = [`created user ${user.username} (${user.id})`];
  show(
    terminal,
    options,
    value,
    given === undefined ? [...lines, `password ${password}  (shown this once)`] : lines,
  );
}

export async function listUsers(terminal: Terminal, options: UserCommandOptions): Promise<void> {
  const items = await withIdentity(terminal, options.config, (identity) => allPages(identity.users));
  show(terminal, options, { items, total: items.length }, items.map(userLine));
}

function userLine(user: User): string {
  return [
    user.id,
    user.username,
    user.is_admin ? 'admin' : 'user',
    user.is_active ? 'active' : 'disabled',
    user.locked_until === null ? '' : lockText(user.locked_until, user.locked_addresses),
  ].join('\t');
}

function lockText(until: string, addresses: number): string {
  const count = addresses === 1 ? '1 address' : `${addresses} addresses`;
  const which = addresses === 0 ? 'new addresses wait' : `${count} locked out`;
  return `${which}, until ${until}`;
}

export async function unlockUser(
  terminal: Terminal,
  who: string,
  options: UserCommandOptions,
): Promise<void> {
  const user = await withChange(
    terminal,
    options.config,
    { command: 'user unlock', target: who },
    async (identity) => identity.users.unlock((await identity.users.getByName(who)).id),
    (changed) => changed.id,
  );
  show(terminal, options, user, [`lifted the locks of ${user.username} (${user.id})`]);
}

export async function disableUser(
  terminal: Terminal,
  who: string,
  options: UserCommandOptions,
): Promise<void> {
  const user = await withChange(
    terminal,
    options.config,
    { command: 'user disable', target: who },
    async (identity) => identity.users.toggle((await identity.users.getByName(who)).id, false),
    (changed) => changed.id,
  );
  show(terminal, options, user, [`disabled user ${user.username} (${user.id})`]);
}

export async function resetPassword(
  terminal: Terminal,
  who: string,
  options: UserCommandOptions & { readonly passwordStdin?: boolean },
): Promise<void> {
  const given =
    options.passwordStdin === true ? await terminal.readLine() : secretOf(terminal, 'USER_PASSWORD');
  const { id, password } = await withChange(
    terminal,
    options.config,
    { command: 'user reset-password', target: who },
    async (identity) => {
      const user = await identity.users.getByName(who);
      return { id: user.id, password: await identity.users.resetPassword(user.id, given) };
    },
    (changed) => changed.id,
  );
  const value = { id, ...(given === undefined && { password }) };
  const shown = given === undefined ? [`password ${password}  (shown this once)`] : [];
  show(terminal, options, value, [`reset the password of ${who} (${id}) and ended its sessions`, ...shown]);
}
