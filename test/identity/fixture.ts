/** An identity store over a real database, SQLite unless `useDatabases` says otherwise, with a clock that only a test moves. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hash, verify } from 'argon2';
import { type Kysely, sql } from 'kysely';
import type { Test } from 'tap';
import type { Clock, MonotonicMs, WallMs } from '../../src/clock.ts';
import { configSchema } from '../../src/config/schema.ts';
import { KnownCredentials } from '../../src/credentials/known.ts';
import type { Hashing } from '../../src/credentials/passwords.ts';
import { VerifiedCredentials } from '../../src/credentials/verified.ts';
import type { Answer, Call, Endpoint } from '../../src/endpoints/endpoint.ts';
import { Refusal } from '../../src/errors.ts';
import { anonymous, type Principal } from '../../src/exchange.ts';
import { adminEndpoints } from '../../src/identity/admin-endpoints.ts';
import { authEndpoints } from '../../src/identity/auth-endpoints.ts';
import type { Believer } from '../../src/identity/revocations.ts';
import { type Identity, openIdentity } from '../../src/identity/store.ts';
import type { IdentityTables } from '../../src/identity/tables.ts';
import { openPostgres, servingBounds } from '../../src/sql/postgres.ts';
import { openSqlite } from '../../src/sql/sqlite.ts';
import { parseDatabaseUrl } from '../../src/sql/url.ts';

export const password = 'a perfectly fine passphrase';
/** Where callers are unless a test says otherwise. */
export const address = '192.0.2.1';
const noPermissions = { can_create: false, can_read: false, can_update: false, can_delete: false };
export const firstPage = { page: 1, page_size: 20 };

class FakeClock implements Clock {
  nowMs = Date.parse('2030-01-01T00:00:00Z');

  wallMs(): WallMs {
    return this.nowMs as WallMs;
  }

  monotonicMs(): MonotonicMs {
    return this.nowMs as MonotonicMs;
  }
}

export interface Fixture {
  readonly identity: Identity;
  readonly clock: FakeClock;
  /** What Argon2 was asked for so far. */
  readonly hashes: { hash: number; verify: number };
  /** What was told to `onError`. */
  readonly errors: unknown[];
  /** The URL of its database. */
  readonly database: string;
}

type Opener = Pick<Test, 'testdir' | 'teardown'>;

let newDatabase: (test: Opener) => string | Promise<string> = (test) =>
  `sqlite:${join(test.testdir(), 'portcullis.db')}`;

/** From here on each store is opened over a database that `make` gives the URL of. */
export function useDatabases(make: () => Promise<string>): void {
  newDatabase = make;
}

/** What a shared database asks for. */
const sharedSecrets = {
  tokens: { secrets: ['a-signing-key-of-more-than-32-bytes'] },
  api_keys: { hmac_keys: ['a-sealing-key-of-more-than-32-bytes'] },
};

/** Hashes that take no time, and the secrets that this database needs. */
export function authOf(database: string, { tokens = {}, api_keys = {}, ...auth }: AuthOverrides = {}) {
  const secrets = database.startsWith('sqlite:') ? { tokens: {}, api_keys: {} } : sharedSecrets;
  return configSchema.shape.auth.parse({
    passwords: { memory: '1MiB', iterations: 1 },
    tokens: { ...secrets.tokens, ...tokens },
    api_keys: { ...secrets.api_keys, ...api_keys },
    ...auth,
  });
}

interface AuthOverrides {
  readonly tokens?: object;
  readonly api_keys?: object;
  readonly passwords?: object;
}

/** Opens a store over a database of its own, or a second one over `same`; closed with the test. */
export async function open(
  test: Opener,
  same?: string,
  auth: AuthOverrides = {},
  believer?: (clock: Clock) => Believer,
): Promise<Fixture> {
  const database = same ?? (await newDatabase(test));
  const clock = new FakeClock();
  const hashes = { hash: 0, verify: 0 };
  const errors: unknown[] = [];
  const identity = await openIdentity({
    config: { database, auth: authOf(database, auth) },
    clock,
    ...(believer !== undefined && { believer: believer(clock) }),
    onError: (error) => errors.push(error),
    hashing: counting(hashes),
  });
  test.teardown(() => identity.close());
  return { identity, clock, hashes, errors, database };
}

export interface BelievingFixture extends Fixture {
  readonly verified: VerifiedCredentials;
  /** As a gateway does it: from memory where it can be, else by the verifier. */
  present(text: string, authType?: 'Bearer' | 'ApiKey'): Promise<Principal>;
}

/** The same with a memory of what has verified. */
export async function openBelieving(
  test: Opener,
  same?: string,
  stalenessMaxMs = 120_000,
): Promise<BelievingFixture> {
  let verified: VerifiedCredentials | undefined;
  const fixture = await open(test, same, {}, (clock) => {
    verified = new VerifiedCredentials({ clock, entriesMax: 1_000, stalenessMaxMs });
    return verified;
  });
  if (verified === undefined) throw new Error('nobody believes');
  const believing = verified;
  const present = async (text: string, authType: 'Bearer' | 'ApiKey' = 'Bearer') => {
    const credential = { authType, text };
    return (
      believing.find(credential) ?? believing.verify(credential, fixture.identity.verifier.read(credential))
    );
  };
  return { ...fixture, verified: believing, present };
}

/** The tables past the store; closed with the test. */
export function tablesOf(test: Opener, { database }: Fixture): Kysely<IdentityTables> {
  const location = parseDatabaseUrl(database);
  const tables =
    location.kind === 'sqlite'
      ? openSqlite<IdentityTables>(location.path)
      : openPostgres<IdentityTables>(
          location,
          { applicationName: 'test', onError: () => undefined },
          servingBounds,
        );
  test.teardown(() => tables.destroy());
  return tables;
}

/** All that is stored, as text: the bytes of SQLite's files, or every row of PostgreSQL's tables. */
export async function everythingStored(test: Opener, fixture: Fixture): Promise<string> {
  const location = parseDatabaseUrl(fixture.database);
  if (location.kind === 'sqlite')
    return readFileSync(location.path, 'latin1') + readFileSync(`${location.path}-wal`, 'latin1');
  const tables = tablesOf(test, fixture);
  const all = await tables.introspection.getTables();
  const rows = await Promise.all(
    all.map(({ name }) => sql`select * from ${sql.table(name)}`.execute(tables)),
  );
  return JSON.stringify(rows);
}

function counting(hashes: Fixture['hashes']): Hashing {
  return {
    hash: (text, options) => {
      hashes.hash += 1;
      return hash(text, options);
    },
    verify: (stored, text) => {
      hashes.verify += 1;
      return verify(stored, text);
    },
  };
}

export const createUser = ({ identity }: Fixture, username: string, fields: object = {}) =>
  identity.users.create({ username, password, ...noPermissions, is_admin: false, ...fields });

export const createKey = ({ identity }: Fixture, fields: object = {}) =>
  identity.keys.create({ name: 'service', ...noPermissions, can_read: true, ...fields }, 'user:test');

export const logIn = async ({ identity }: Fixture, username: string, secret = password) =>
  identity.grants.begin({ kind: 'user', row: await identity.users.authenticate(username, secret, address) });

export const keyLogIn = async ({ identity }: Fixture, key: string) =>
  identity.grants.begin({ kind: 'key', held: await identity.keys.authenticate(key) });

export const bearer = ({ identity }: Fixture, text: string): Promise<Principal> =>
  (async () => (await identity.verifier.read({ authType: 'Bearer', text }).verify()).principal)();

/** The refusal's code and reason, or `undefined` when the work succeeds. */
export async function refusal(work: Promise<unknown>): Promise<Refusal | undefined> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  return undefined;
}

export const reason = async (work: Promise<unknown>) => (await refusal(work))?.reason;
export const code = async (work: Promise<unknown>) => (await refusal(work))?.code;

export interface Caller {
  readonly body?: unknown;
  readonly params?: Record<string, string>;
  readonly query?: Record<string, string>;
  readonly principal?: Principal;
  readonly address?: string;
}

/** Calls endpoints as the answering phase does: schema first. */
export class Endpoints {
  readonly failures = { checks: 0, records: 0, refuse: false };
  readonly all: readonly Endpoint[];

  constructor({ identity }: Fixture) {
    const { failures } = this;
    const deps = {
      identity,
      failures: {
        check() {
          failures.checks += 1;
          if (failures.refuse) throw new Refusal('too_many_failures', { retryAfterSeconds: 2 });
        },
        record() {
          failures.records += 1;
        },
      },
      known: new KnownCredentials(),
    };
    this.all = [...authEndpoints(deps), ...adminEndpoints(deps)];
  }

  async call(name: string, caller: Caller = {}): Promise<Answered> {
    const endpoint = this.all.find(({ method, path }) => `${method} ${path}` === name);
    if (endpoint === undefined) throw new Error(`no endpoint ${name}`);
    const exchange = {
      clientAddress: caller.address ?? address,
      principal: caller.principal ?? anonymous,
      identifiedSubject: undefined,
      credentialId: undefined,
    };
    const call = {
      exchange,
      params: caller.params ?? {},
      query: endpoint.querySchema?.parse(caller.query ?? {}) ?? {},
      body: endpoint.bodySchema?.parse(caller.body ?? {}),
    };
    // Only what endpoints may look at: the rest of an exchange is not theirs.
    const answer = await endpoint.answer(call as unknown as Call);
    return { ...answer, json: JSON.parse(JSON.stringify(answer.json ?? null)), exchange };
  }
}

interface Answered extends Omit<Answer, 'json'> {
  readonly json: Record<string, unknown>;
  readonly exchange: { identifiedSubject: string | undefined; credentialId: string | undefined };
}
