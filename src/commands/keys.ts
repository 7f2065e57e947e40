/** `portcullis key …`: the admin endpoints' operations, for a shell with access to the database. */
import { Refusal } from '../errors.ts';
import { type Key, newKeySchema, rotateKeySchema } from '../identity/shapes.ts';
import type { Identity } from '../identity/store.ts';
import { allPages } from './all-pages.ts';
import { parseFields } from './fields.ts';
import { CommandError, type OutputOptions, show, type Terminal } from './terminal.ts';
import { permissionFlags } from './users.ts';
import { withChange, withIdentity } from './with-identity.ts';

export interface KeyCommandOptions extends OutputOptions {
  readonly config: string;
}

export interface CreateKeyOptions extends KeyCommandOptions {
  readonly name: string;
  readonly description?: string;
  readonly permissions?: string;
  readonly expiresAt?: string;
  /** A username. */
  readonly owner?: string;
}

export async function createKey(terminal: Terminal, options: CreateKeyOptions): Promise<void> {
  const fields = parseFields(newKeySchema, {
    name: options.name,
    ...(options.description !== undefined && { description: options.description }),
    ...(options.expiresAt !== undefined && { expires_at: options.expiresAt }),
    ...permissionFlags(options.permissions),
  });
  const key = await withChange(
    terminal,
    options.config,
    { command: 'key create' },
    async (identity) => {
      const owner = options.owner === undefined ? null : await userIdOf(identity, options.owner);
      return identity.keys.create({ ...fields, owner }, `cli:${terminal.systemUser}`);
    },
    (made) => made.id,
  );
  show(terminal, options, key, [`created key ${key.name} (${key.id})`, `${key.key}  (shown this once)`]);
}

async function userIdOf({ users }: Identity, username: string): Promise<string> {
  try {
    return (await users.getByName(username)).id;
  } catch (error) {
    if (error instanceof Refusal && error.code === 'resource_not_found')
      throw new CommandError(`there is no user ${username}: see \`portcullis user list\``);
    throw error;
  }
}

export interface ListKeysOptions extends KeyCommandOptions {
  /** Only keys never used, or not for 90 days. */
  readonly idle?: boolean;
}

export async function listKeys(terminal: Terminal, options: ListKeysOptions): Promise<void> {
  const { idle = false } = options;
  const items = await withIdentity(terminal, options.config, ({ keys }) =>
    allPages({ list: (page) => keys.list(page, { idle }) }),
  );
  show(terminal, options, { items, total: items.length }, items.map(keyLine));
}

function keyLine(key: Key): string {
  const permissions = (['create', 'read', 'update', 'delete'] as const).filter((word) => key[`can_${word}`]);
  const state = key.is_active ? 'active' : 'disabled';
  return [
    key.id,
    key.name,
    permissions.join(',') || '-',
    state,
    key.expires_at ?? 'no expiry',
    `${key.last_used_at ?? 'never used'}${key.idle ? ' (idle)' : ''}`,
  ].join('\t');
}

/** In a hurry one gives the whole key: its public part is enough, and what was typed is no secret any more. */
function idOf(given: string): string {
  return /^[a-z0-9]+_(?<id>[0-9A-Za-z]{12})_/.exec(given)?.groups?.id ?? given;
}

export interface RotateKeyOptions extends KeyCommandOptions {
  /** Such as `1h`. */
  readonly overlap?: string;
}

export async function rotateKey(terminal: Terminal, given: string, options: RotateKeyOptions): Promise<void> {
  const id = idOf(given);
  const { overlap } = parseFields(rotateKeySchema, {
    ...(options.overlap !== undefined && { overlap: options.overlap }),
  });
  const key = await withChange(terminal, options.config, { command: 'key rotate', target: id }, (identity) =>
    identity.keys.rotate(id, overlap),
  );
  const until = key.previous_valid_until;
  show(terminal, options, key, [
    `rotated key ${key.name} (${key.id}); the old secret ${until === null ? 'is dead' : `works until ${until}`}`,
    `${key.key}  (shown this once)`,
  ]);
}

export async function disableKey(
  terminal: Terminal,
  given: string,
  options: KeyCommandOptions,
): Promise<void> {
  const id = idOf(given);
  const key = await withChange(terminal, options.config, { command: 'key disable', target: id }, (identity) =>
    identity.keys.toggle(id, false),
  );
  show(terminal, options, key, [`disabled key ${key.name} (${key.id})`]);
}

export async function deleteKey(
  terminal: Terminal,
  given: string,
  options: KeyCommandOptions,
): Promise<void> {
  const id = idOf(given);
  await withChange(terminal, options.config, { command: 'key delete', target: id }, (identity) =>
    identity.keys.delete(id),
  );
  show(terminal, options, { id, deleted: true }, [`deleted key ${id}`]);
}
