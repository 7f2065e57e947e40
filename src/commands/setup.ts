/** `portcullis setup`: the first admin and the first API key, once. */
import type { FirstSecrets } from '../identity/setup.ts';
import { secretOf } from './secret.ts';
import { CommandError, type OutputOptions, show, type Terminal } from './terminal.ts';
import { withChange } from './with-identity.ts';

export async function setup(terminal: Terminal, config: string, options: OutputOptions): Promise<void> {
  const first = await withChange(
    terminal,
    config,
    { command: 'setup' },
    (identity) => identity.setup({ adminPassword: secretOf(terminal, 'ADMIN_PASSWORD') }),
    (made) => made?.key.id,
  );
  if (first === undefined) {
    throw new CommandError(
      'setup was done before; nothing was changed. To make more, use `portcullis user create` and `portcullis key ' +
        'create`; for a lost password, `portcullis user reset-password admin`.',
    );
  }
  const value = {
    username: first.admin.username,
    ...(first.passwordGenerated && { password: first.password }),
    id: first.key.id,
    key: first.key.key,
  };
  show(terminal, options, value, firstSecretsLines(first));
}

/** The only time these are shown. */
export function firstSecretsLines(first: FirstSecrets): string[] {
  return [
    `admin user      ${first.admin.username}`,
    `admin password  ${first.passwordGenerated ? first.password : '(the one given in ADMIN_PASSWORD)'}`,
    `API key         ${first.key.key}  (read, create, update)`,
  ];
}
