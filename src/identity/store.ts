/** Opens everything that knows users and keys: the database, the secrets, the tokens and the verifier. */
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { RandomBytes } from '../credentials/base62.ts';
import type { CredentialVerifier } from '../credentials/credential.ts';
import { keySeal } from '../credentials/key-hmac.ts';
import { type Hashing, openPasswords } from '../credentials/passwords.ts';
import { loadSecrets } from '../credentials/secrets.ts';
import { fileKeys, type OnReread, secretKeys, type TokenKeys } from '../credentials/token-keys.ts';
import { Tokens } from '../credentials/tokens.ts';
import { openSqlite, sqlitePath } from '../sql/database.ts';
import { migrate } from '../sql/migrate.ts';
import { IdentityDatabase } from './database.ts';
import { Grants } from './grants.ts';
import { KeyUse } from './key-use.ts';
import { Keys } from './keys.ts';
import { migrations, migrationTable } from './migrations.ts';
import { Sessions } from './sessions.ts';
import { type FirstSecrets, setUp } from './setup.ts';
import type { IdentityTables } from './tables.ts';
import { countUsers } from './user-rows.ts';
import { Users } from './users.ts';
import { Verifier } from './verifier.ts';

export interface IdentityOptions {
  readonly config: Pick<Config, 'database' | 'auth'>;
  readonly clock: Clock;
  /** Told what a request does not wait for and so cannot report: a `last_used_at` that was not written. */
  readonly onError: (error: unknown) => void;
  /** Told when the files of `auth.tokens.keys` have changed, and when what they hold cannot be used. */
  readonly onTokenKeysReread?: OnReread;
  readonly random?: RandomBytes;
  readonly hashing?: Hashing;
}

export interface Identity {
  readonly users: Users;
  readonly keys: Keys;
  readonly sessions: Sessions;
  readonly grants: Grants;
  readonly verifier: CredentialVerifier;
  /** What our own tokens are signed with. */
  readonly tokenKeys: TokenKeys;
  /** Whether there is no user yet. */
  isEmpty(): Promise<boolean>;
  /** Makes the first admin and key; `undefined` when that was done before. See `setUp`. */
  setup(options?: { readonly adminPassword?: string | undefined }): Promise<FirstSecrets | undefined>;
  /** Writes what is still under way and closes the database. */
  close(): Promise<void>;
}

/**
 * @throws SecretError for a weak or unreadable secret, DatabaseUrlError, and what the database says at opening
 */
export async function openIdentity(options: IdentityOptions): Promise<Identity> {
  const { config, clock, onError, onTokenKeysReread, random = randomBytes, hashing } = options;
  const path = sqlitePath(config.database);
  const hmacKeys = openHmacKeys(config.auth, path, random);
  const tokenKeys = await openTokenKeys(config.auth, path, onTokenKeysReread ?? (() => {}), random);
  const database = await openDatabase(path);
  const passwords = await openPasswords(config.auth.passwords, hashing);
  const users = new Users({ database, passwords, clock, random });
  const use = new KeyUse(database, clock, onError);
  const { prefix } = config.auth.api_keys;
  const keys = new Keys({ database, seal: keySeal(hmacKeys), use, prefix, clock, random });
  const sessions = new Sessions(database, clock);
  const { issuer, audience, access_lifetime, refresh_lifetime } = config.auth.tokens;
  const tokens = new Tokens({ keys: tokenKeys, issuer, audience }, clock, random);
  const lifetimes = { accessLifetimeMs: access_lifetime, refreshLifetimeMs: refresh_lifetime };
  return {
    users,
    keys,
    sessions,
    grants: new Grants({ tokens, sessions, clock, ...lifetimes }),
    verifier: new Verifier({ keys, sessions, tokens, clock }),
    tokenKeys,
    isEmpty: async () => (await database.run(countUsers)) === 0,
    setup: ({ adminPassword } = {}) => setUp({ database, users, keys }, adminPassword),
    close: async () => {
      tokenKeys.close();
      await use.settled();
      await database.close();
    },
  };
}

/** Apart from the secret of the tokens, so that replacing that one does not kill every API key. */
function openHmacKeys({ api_keys }: Config['auth'], databasePath: string, random: RandomBytes) {
  const file = beside(databasePath, 'api-keys.key');
  return loadSecrets({ option: 'auth.api_keys.hmac_keys', given: api_keys.hmac_keys, file }, random);
}

async function openTokenKeys(
  { tokens }: Config['auth'],
  databasePath: string,
  onReread: OnReread,
  random: RandomBytes,
): Promise<TokenKeys> {
  if (tokens.keys.length > 0)
    return fileKeys(
      tokens.keys.map(({ file }) => file),
      onReread,
    );
  const file = beside(databasePath, 'secret.key');
  return secretKeys(loadSecrets({ option: 'auth.tokens.secrets', given: tokens.secrets, file }, random));
}

/** Where a generated secret is kept. */
function beside(databasePath: string, name: string): string | undefined {
  return databasePath === ':memory:' ? undefined : join(dirname(databasePath), name);
}

async function openDatabase(path: string): Promise<IdentityDatabase> {
  const tables = openSqlite<IdentityTables>(path);
  try {
    await migrate(tables, migrationTable, migrations);
    return new IdentityDatabase(tables);
  } catch (error) {
    await tables.destroy();
    throw error;
  }
}
