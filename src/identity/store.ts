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
import { openTokens } from '../credentials/tokens.ts';
import { openSqlite, sqlitePath } from '../sql/database.ts';
import { migrate } from '../sql/migrate.ts';
import { IdentityDatabase } from './database.ts';
import { Grants } from './grants.ts';
import { KeyUse } from './key-use.ts';
import { Keys } from './keys.ts';
import { Lockout } from './lockout.ts';
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
  readonly random?: RandomBytes;
  readonly hashing?: Hashing;
}

export interface Identity {
  readonly users: Users;
  readonly keys: Keys;
  readonly sessions: Sessions;
  readonly grants: Grants;
  readonly verifier: CredentialVerifier;
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
  const { config, clock, onError, random = randomBytes, hashing } = options;
  const path = sqlitePath(config.database);
  const secrets = openSecrets(config.auth, path, random);
  const database = await openDatabase(path);
  const passwords = await openPasswords(config.auth.passwords, hashing);
  const lockout = new Lockout(database, clock, config.auth.lockout);
  const users = new Users({ database, passwords, lockout, clock, random });
  const use = new KeyUse(database, clock, onError);
  const { prefix } = config.auth.api_keys;
  const keys = new Keys({ database, seal: keySeal(secrets.hmacKeys), use, prefix, clock, random });
  const sessions = new Sessions(database, clock);
  const { issuer, audience, access_lifetime, refresh_lifetime } = config.auth.tokens;
  const tokens = await openTokens({ secrets: secrets.signing, issuer, audience }, clock, random);
  const lifetimes = { accessLifetimeMs: access_lifetime, refreshLifetimeMs: refresh_lifetime };
  return {
    users,
    keys,
    sessions,
    grants: new Grants({ tokens, sessions, clock, ...lifetimes }),
    verifier: new Verifier({ keys, sessions, tokens, clock }),
    isEmpty: async () => (await database.run(countUsers)) === 0,
    setup: ({ adminPassword } = {}) => setUp({ database, users, keys }, adminPassword),
    close: async () => {
      await use.flush();
      await database.close();
    },
  };
}

/** Two secrets, so that replacing the one that signs tokens does not kill every API key. */
function openSecrets(auth: Config['auth'], databasePath: string, random: RandomBytes) {
  const beside = (name: string) =>
    databasePath === ':memory:' ? undefined : join(dirname(databasePath), name);
  const signing = { option: 'auth.tokens.secrets', given: auth.tokens.secrets, file: beside('secret.key') };
  const hmac = {
    option: 'auth.api_keys.hmac_keys',
    given: auth.api_keys.hmac_keys,
    file: beside('api-keys.key'),
  };
  return { signing: loadSecrets(signing, random), hmacKeys: loadSecrets(hmac, random) };
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
