/** Opens everything that knows users and keys: the database, the secrets, the tokens and the verifier. */
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import type { JWK } from 'jose';
import type { LockoutBuckets } from '../bucket/buckets.ts';
import { MemoryBuckets } from '../bucket/memory.ts';
import { databaseLocation } from '../config/database-location.ts';
import type { Config } from '../config/schema.ts';
import { Assertions } from '../credentials/assertions.ts';
import type { RandomBytes } from '../credentials/base62.ts';
import type { CredentialVerifier } from '../credentials/credential.ts';
import { keySeal } from '../credentials/key-hmac.ts';
import { type Hashing, openPasswords } from '../credentials/passwords.ts';
import { loadSecrets, SecretError } from '../credentials/secrets.ts';
import { fileKeys, type OnReread, secretKeys, type TokenKeys } from '../credentials/token-keys.ts';
import { Tokens } from '../credentials/tokens.ts';
import { lockoutBucketsMax } from '../limits.ts';
import type { DatabaseLocation } from '../sql/url.ts';
import { AssertionKeys, type AssertionKeysDeps, unkeptAssertionKey } from './assertion-keys.ts';
import { Grants } from './grants.ts';
import { KeyUse } from './key-use.ts';
import { Keys } from './keys.ts';
import { Lockout } from './lockout.ts';
import { type OpeningOptions, openTables } from './open.ts';
import type { Revocations } from './revocations.ts';
import { Sessions } from './sessions.ts';
import { type FirstSecrets, setUp } from './setup.ts';
import { countUsers } from './user-rows.ts';
import { Users } from './users.ts';
import { Verifier } from './verifier.ts';

export interface IdentityOptions extends OpeningOptions {
  readonly config: Pick<Config, 'database' | 'auth'>;
  /** Told what a request does not wait for and so cannot report: a `last_used_at` not written, an idle connection lost. */
  readonly onError: (error: unknown) => void;
  /** Told when the files of `auth.tokens.keys` have changed, and when what they hold cannot be used. */
  readonly onTokenKeysReread?: OnReread;
  /** Where wrong passwords are counted; in this process's memory unless given. */
  readonly lockout?: LockoutBuckets | undefined;
  readonly random?: RandomBytes;
  readonly hashing?: Hashing;
  /** False for a command, which neither makes nor verifies tokens: a broken key file must not keep it from disabling a key. */
  readonly makesTokens?: boolean;
  /**
   * True for who only asks what would be: nothing is written, neither that a key was used nor a table, nor a secret
   * where there is none yet. What it signs is for nobody.
   */
  readonly readsOnly?: boolean;
}

export interface Identity {
  readonly users: Users;
  readonly keys: Keys;
  readonly sessions: Sessions;
  readonly grants: Grants;
  readonly verifier: CredentialVerifier;
  /** What our own tokens are signed with. */
  readonly tokenKeys: TokenKeys;
  /** Where there is a believer. */
  readonly revocations: Revocations | undefined;
  /** Signs what upstreams are told. */
  readonly assertions: Assertions;
  /** What they are signed with; absent in a command. */
  readonly assertionKeys: AssertionKeys | undefined;
  /** The public keys of our tokens and assertions (RFC 7517). */
  jwks(): readonly JWK[];
  /** Whether there is no user yet. */
  isEmpty(): Promise<boolean>;
  /** Makes the first admin and key; `undefined` when that was done before. See `setUp`. */
  setup(options?: { readonly adminPassword?: string | undefined }): Promise<FirstSecrets | undefined>;
  /** Writes what is still under way and closes the database. */
  close(): Promise<void>;
}

/**
 * @throws SecretError for a weak, missing or unreadable secret, DatabaseUrlError, DatabaseOpenError, and what
 *   SQLite says at opening
 */
export async function openIdentity(options: IdentityOptions): Promise<Identity> {
  const {
    config,
    clock,
    onError,
    onTokenKeysReread,
    random = randomBytes,
    hashing,
    makesTokens = true,
    readsOnly = false,
  } = options;
  const location = databaseLocation(config.database);
  const own: OwnSecrets = { location, random, keeps: !readsOnly };
  const hmacKeys = openHmacKeys(config.auth, own);
  const tokenKeys = makesTokens
    ? await openTokenKeys(config.auth, own, onTokenKeysReread ?? (() => {}))
    : await secretKeys([random(32).toString('base64url')]);
  const opened = await openTables(location, options);
  const { database, revocations } = opened;
  const assertionKeys =
    makesTokens && !readsOnly
      ? await openAssertionKeys({ database, secrets: hmacKeys, clock, onError, random })
      : undefined;
  const unkept = readsOnly ? unkeptAssertionKey() : undefined;
  const passwords = await openPasswords(config.auth.passwords, hashing);
  const buckets = options.lockout ?? new MemoryBuckets(clock, lockoutBucketsMax);
  const lockout = new Lockout(database, clock, config.auth.lockout, buckets);
  const users = new Users({ database, passwords, lockout, clock, random });
  const use = new KeyUse(database, clock, onError);
  const { prefix } = config.auth.api_keys;
  const note = readsOnly ? () => {} : (id: string) => use.note(id);
  const keys = new Keys({ database, seal: keySeal(hmacKeys), use: { note }, prefix, clock, random });
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
    revocations,
    assertions: new Assertions({ issuer, signingKey: () => assertionKeys?.signing() ?? unkept, clock }),
    assertionKeys,
    jwks: () => [...tokenKeys.current().jwks, ...(assertionKeys?.jwks() ?? [])],
    isEmpty: async () => (await database.run(countUsers)) === 0,
    setup: ({ adminPassword } = {}) => setUp({ database, users, keys }, adminPassword),
    close: async () => {
      tokenKeys.close();
      await assertionKeys?.close();
      await use.close();
      await opened.close();
    },
  };
}

interface OwnSecrets {
  readonly location: DatabaseLocation;
  readonly random: RandomBytes;
  /** Whether one that is not there is made and kept. */
  readonly keeps: boolean;
}

/** Apart from the secret of the tokens, so that replacing that one does not kill every API key. */
function openHmacKeys({ api_keys }: Config['auth'], own: OwnSecrets) {
  return openSecrets('auth.api_keys.hmac_keys', api_keys.hmac_keys, 'api-keys.key', own);
}

async function openTokenKeys(
  { tokens }: Config['auth'],
  own: OwnSecrets,
  onReread: OnReread,
): Promise<TokenKeys> {
  const files = tokens.keys.map(({ file }) => file);
  if (files.length > 0) return fileKeys(files, onReread);
  return secretKeys(openSecrets('auth.tokens.secrets', tokens.secrets, 'secret.key', own));
}

/** Given, or with an embedded database generated and kept beside it. */
function openSecrets(
  option: string,
  given: readonly string[],
  name: string,
  { location, random, keeps }: OwnSecrets,
) {
  if (location.kind === 'sqlite') {
    return loadSecrets({ option, given, file: beside(location.path, name), keeps }, random);
  }
  if (given.some((secret) => secret !== '')) return loadSecrets({ option, given, file: undefined }, random);
  // One that each gateway made for itself would verify nothing that another one signed or sealed.
  throw new SecretError(`${option}: a shared database needs one; make it with: openssl rand -base64 48`);
}

async function openAssertionKeys(deps: AssertionKeysDeps): Promise<AssertionKeys> {
  try {
    return await AssertionKeys.open(deps);
  } catch (error) {
    await deps.database.close();
    throw error;
  }
}

function beside(databasePath: string, name: string): string | undefined {
  return databasePath === ':memory:' ? undefined : join(dirname(databasePath), name);
}
