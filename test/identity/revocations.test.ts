/** What is revoked is believed no more, by the gateway that did it and by another one on the same database. */
import { setTimeout as delay } from 'node:timers/promises';
import { PostgresAdapter, sql } from 'kysely';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { watchedColumns } from '../../src/identity/revocation-triggers.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import {
  address,
  type BelievingFixture,
  createKey,
  createUser,
  keyLogIn,
  logIn,
  openBelieving,
  password,
  reason,
  tablesOf,
} from './fixture.ts';

/** A user and a key, each with tokens, that one gateway has seen, and the ways to end them. */
async function cast(fixture: BelievingFixture) {
  const user = await createUser(fixture, `u${Math.random()}`, { can_read: true });
  const key = await createKey(fixture);
  const grant = await logIn(fixture, user.username);
  const other = await logIn(fixture, user.username);
  const keyGrant = await keyLogIn(fixture, key.key);
  return { user, key, grant, other, keyGrant };
}
type Cast = Awaited<ReturnType<typeof cast>>;

/** What takes which credentials away. The rest of the cast goes on. */
const revocations: Readonly<
  Record<
    string,
    [act: (fixture: BelievingFixture, cast: Cast) => Promise<unknown>, dead: (cast: Cast) => string[]]
  >
> = {
  logout: [
    ({ identity }, { grant }) => identity.sessions.end(grant.sessionId, 'logout'),
    ({ grant }) => [grant.access.text],
  ],
  'ending all sessions': [
    ({ identity }, { user }) => identity.sessions.endAllOf({ kind: 'user', id: user.id }, 'logout'),
    ({ grant, other }) => [grant.access.text, other.access.text],
  ],
  'refresh reuse': [
    async ({ identity }, { grant }) => {
      await identity.grants.refresh(grant.refresh.text);
      await reason(identity.grants.refresh(grant.refresh.text));
    },
    ({ grant }) => [grant.access.text],
  ],
  'password change': [
    ({ identity }, { user, other }) =>
      identity.users.changePassword({
        id: user.id,
        current: password,
        next: 'another fine passphrase',
        clientAddress: address,
        sessionId: other.sessionId,
      }),
    ({ grant }) => [grant.access.text],
  ],
  'password reset': [
    ({ identity }, { user }) => identity.users.resetPassword(user.id),
    ({ grant, other }) => [grant.access.text, other.access.text],
  ],
  'user toggle': [
    ({ identity }, { user }) => identity.users.toggle(user.id),
    ({ grant, other }) => [grant.access.text, other.access.text],
  ],
  'key toggle': [
    ({ identity }, { key }) => identity.keys.toggle(key.id),
    ({ key, keyGrant }) => [key.key, keyGrant.access.text],
  ],
  'key rotation': [
    ({ identity }, { key }) => identity.keys.rotate(key.id),
    ({ key, keyGrant }) => [key.key, keyGrant.access.text],
  ],
  'key deletion': [
    ({ identity }, { key }) => identity.keys.delete(key.id),
    ({ key, keyGrant }) => [key.key, keyGrant.access.text],
  ],
  'key expiry': [
    ({ identity }, { key }) => identity.keys.patch(key.id, { expires_at: '2020-01-01T00:00:00Z' }),
    ({ key, keyGrant }) => [key.key, keyGrant.access.text],
  ],
};

const everything = ({ key, grant, other, keyGrant }: Cast) => [
  key.key,
  grant.access.text,
  other.access.text,
  keyGrant.access.text,
];

async function accepted(fixture: BelievingFixture, texts: readonly string[]): Promise<boolean[]> {
  return Promise.all(texts.map(async (text) => (await reason(fixture.present(text))) === undefined));
}

for (const [name, [act, dead]] of Object.entries(revocations)) {
  t.test(`${name} is effective at once here, and elsewhere with the next look`, async (t) => {
    const here = await openBelieving(t);
    const elsewhere = await openBelieving(t, here.database);
    const who = await cast(here);
    const all = everything(who);
    for (const fixture of [here, elsewhere]) t.ok((await accepted(fixture, all)).every(Boolean));
    const { miss } = here.verified.counts;
    t.ok((await accepted(here, all)).every(Boolean));
    t.equal(here.verified.counts.miss, miss, 'all of them are known');
    await act(here, who);
    const ended = dead(who);
    const expected = all.map((text) => !ended.includes(text));
    t.same(await accepted(here, all), expected, 'at once');
    await elsewhere.identity.revocations?.catchUp();
    t.same(await accepted(elsewhere, all), expected);
  });
}

t.test('a changed permission is seen by both', async (t) => {
  const here = await openBelieving(t);
  const elsewhere = await openBelieving(t, here.database);
  const { key, user, grant } = await cast(here);
  for (const fixture of [here, elsewhere]) {
    t.same((await fixture.present(key.key)).permissions, new Set(['read']));
    t.same((await fixture.present(grant.access.text)).permissions, new Set(['read']));
  }
  await here.identity.keys.patch(key.id, { can_read: false, can_delete: true });
  await here.identity.users.patch(user.id, { can_read: false });
  await elsewhere.identity.revocations?.catchUp();
  for (const fixture of [here, elsewhere]) {
    t.same((await fixture.present(key.key)).permissions, new Set(['delete']));
    t.same((await fixture.present(grant.access.text)).permissions, new Set());
  }
});

t.test('the other gateway looks by itself', async (t) => {
  const here = await openBelieving(t);
  const elsewhere = await openBelieving(t, here.database);
  const { id, key } = await createKey(here);
  await elsewhere.present(key);
  await here.identity.keys.toggle(id, false);
  for (let tries = 0; tries < 400; tries += 1) {
    if ((await reason(elsewhere.present(key))) === 'disabled') return t.pass('without a word from anyone');
    await delay(25);
  }
  return t.fail('it never looked');
});

t.test('whoever is not meant is not asked for again', async (t) => {
  const fixture = await openBelieving(t);
  const [one, two] = [await createKey(fixture), await createKey(fixture)];
  await fixture.present(one.key);
  await fixture.present(two.key);
  await fixture.identity.keys.toggle(one.id, false);
  const { hit } = fixture.verified.counts;
  await fixture.present(two.key);
  t.equal(fixture.verified.counts.hit, hit + 1);
});

t.test('what was never told by a revocation is not one: a use, a login, a description', async (t) => {
  const fixture = await openBelieving(t);
  const tables = tablesOf(t, fixture);
  const revision = async () =>
    Number((await tables.selectFrom('revision').select('value').executeTakeFirstOrThrow()).value);
  const { user, key, grant } = await cast(fixture);
  const before = await revision();
  await fixture.present(key.key);
  await logIn(fixture, user.username);
  await fixture.identity.grants.refresh(grant.refresh.text);
  await fixture.identity.keys.patch(key.id, { description: 'other words', name: 'other' });
  await fixture.identity.users.patch(user.id, { email: 'a@example.com' });
  t.equal(await revision(), before);
});

/** What a change of says nothing of a credential. */
const harmless = {
  users: ['username', 'username_key', 'email', 'password_hash', 'created_at', 'updated_at', 'last_login_at'],
  // An owner is watched by a trigger of its own; see the tests of owners.
  api_keys: [
    'owner_id',
    'name',
    'description',
    'created_at',
    'updated_at',
    'created_by',
    'last_used_at',
    'rotated_at',
  ],
  sessions: ['refresh_jti', 'created_at', 'refreshed_at', 'expires_at', 'ended_reason'],
};

t.test('every column is watched, or known to be harmless', async (t) => {
  const fixture = await openBelieving(t);
  const found = await tablesOf(t, fixture).introspection.getTables();
  for (const table of ['users', 'api_keys', 'sessions'] as const) {
    const columns = found.find(({ name }) => name === table)?.columns.map(({ name }) => name) ?? [];
    t.same(columns.sort(), [...watchedColumns[table], ...harmless[table]].sort(), table);
  }
});

t.test('a change past every layer of ours is one too', async (t) => {
  const fixture = await openBelieving(t);
  const { key } = await createKey(fixture);
  await fixture.present(key);
  await sql`update api_keys set is_active = 0`.execute(tablesOf(t, fixture));
  await fixture.identity.revocations?.catchUp();
  t.equal(await reason(fixture.present(key)), 'disabled');
});

t.test('a cached key ends with its expiry, to the millisecond, and its token with it', async (t) => {
  const fixture = await openBelieving(t);
  const { key } = await createKey(fixture, { expires_at: '2030-01-01T00:01:00Z' });
  const { access } = await keyLogIn(fixture, key);
  const until = async (expected: string | undefined) => {
    t.equal(await reason(fixture.present(key)), expected);
    t.equal(await reason(fixture.present(access.text)), expected);
  };
  await until(undefined);
  fixture.clock.nowMs = Date.parse('2030-01-01T00:00:59.999Z');
  const { hit } = fixture.verified.counts;
  await until(undefined);
  t.equal(fixture.verified.counts.hit, hit + 2, 'from memory');
  fixture.clock.nowMs += 1;
  await until('expired');
});

t.test('a cached old secret ends with its overlap', async (t) => {
  const fixture = await openBelieving(t);
  const { id, key } = await createKey(fixture);
  const { access } = await keyLogIn(fixture, key);
  await fixture.identity.keys.rotate(id, 30_000);
  for (const text of [key, access.text]) t.equal(await reason(fixture.present(text)), undefined);
  fixture.clock.nowMs += 29_999;
  const { hit } = fixture.verified.counts;
  for (const text of [key, access.text]) t.equal(await reason(fixture.present(text)), undefined);
  t.equal(fixture.verified.counts.hit, hit + 2, 'from memory');
  fixture.clock.nowMs += 1;
  t.equal(await reason(fixture.present(key)), 'expired');
  t.equal(await reason(fixture.present(access.text)), 'expired');
});

t.test('more revocations than are named at once take everything', async (t) => {
  const fixture = await openBelieving(t);
  const elsewhere = await openBelieving(t, fixture.database);
  const [one, two] = [await createKey(fixture), await createKey(fixture)];
  for (const { key } of [one, two]) await elsewhere.present(key);
  const tables = tablesOf(t, fixture);
  const rows = Array.from({ length: 1_001 }, (_, index) => ({
    subject: `key:other${index}`,
    revision: 10 + index,
    changed_at: 0,
  }));
  await tables.transaction().execute(async (transaction) => {
    await transaction.insertInto('revocations').values(rows).execute();
    await transaction.updateTable('revision').set({ value: 1_011 }).execute();
  });
  await elsewhere.identity.revocations?.catchUp();
  const { miss } = elsewhere.verified.counts;
  await elsewhere.present(one.key);
  t.equal(elsewhere.verified.counts.miss, miss + 1);
});

t.test('a count that went back, and one whose names are gone, take everything', async (t) => {
  const fixture = await openBelieving(t);
  const { id, key } = await createKey(fixture);
  await fixture.identity.keys.toggle(id);
  await fixture.identity.keys.toggle(id);
  const tables = tablesOf(t, fixture);
  for (const row of [{ value: 1 }, { value: 500, pruned: 400 }]) {
    await fixture.present(key);
    await tables.updateTable('revision').set(row).execute();
    await fixture.identity.revocations?.catchUp();
    const { miss } = fixture.verified.counts;
    await fixture.present(key);
    t.equal(fixture.verified.counts.miss, miss + 1);
  }
});

t.test('what verified before the database could first be followed is not believed once it can', async (t) => {
  const tables = tablesOf(t, await openBelieving(t));
  const revoked: unknown[] = [];
  const revocations = new Revocations({
    tables,
    believer: { revoke: (subjects) => void revoked.push(subjects), proven: () => undefined },
    clock: systemClock,
    intervalMs: 3_600_000,
    onState: () => undefined,
  });
  t.teardown(() => revocations.close());
  await sql`alter table revision rename to revision_gone`.execute(tables);
  await revocations.start();
  t.equal(revocations.stalenessMs(), Number.POSITIVE_INFINITY);
  await sql`alter table revision_gone rename to revision`.execute(tables);
  await revocations.catchUp();
  t.strictSame(revoked, ['all']);
});

t.test('names older than two days are cleared away, and who has not looked since is told', async (t) => {
  const fixture = await openBelieving(t);
  const tables = tablesOf(t, fixture);
  const { id } = await createKey(fixture);
  const old = Math.floor(Date.now() / 1000) - 3 * 86_400;
  await tables.updateTable('revision').set({ value: 7 }).execute();
  await tables
    .insertInto('revocations')
    .values([
      { subject: 'key:old', revision: 6, changed_at: old },
      { subject: 'key:new', revision: 7, changed_at: old + 2 * 86_400 },
    ])
    .execute();
  await fixture.identity.keys.toggle(id);
  const named = await tables.selectFrom('revocations').select('subject').orderBy('revision').execute();
  t.same(
    named.map(({ subject }) => subject),
    ['key:new', `key:${id}`],
  );
  const row = await tables.selectFrom('revision').selectAll().executeTakeFirstOrThrow();
  t.match([Number(row.value), Number(row.pruned)], [8, 6]);
});

/** From now on every look fails, and everything else goes on. */
async function brokenOff(t: Test, fixture: BelievingFixture): Promise<void> {
  await sql`alter table revision rename to revision_gone`.execute(tablesOf(t, fixture));
}

t.test('past the staleness bound what is known is not believed, and the database is asked', async (t) => {
  const fixture = await openBelieving(t, undefined, 10_000);
  const { key } = await createKey(fixture);
  await fixture.present(key);
  await brokenOff(t, fixture);
  await delay(100);
  fixture.clock.nowMs += 9_000;
  t.ok(fixture.verified.find({ authType: 'Bearer', text: key }), 'within the bound it goes on');
  t.ok((fixture.identity.revocations?.stalenessMs() ?? 0) >= 9_000);
  fixture.clock.nowMs += 2_000;
  t.equal(fixture.verified.find({ authType: 'Bearer', text: key }), undefined);
  t.equal(await reason(fixture.present(key)), undefined, 'the database still vouches for it');
});

t.test('tables that are emptied as a whole take everything', async (t) => {
  const fixture = await openBelieving(t);
  const user = await createUser(fixture, 'ann', { can_read: true });
  const { access } = await logIn(fixture, user.username);
  await fixture.present(access.text);
  const tables = tablesOf(t, fixture);
  const isPostgres = tables.getExecutor().adapter instanceof PostgresAdapter;
  await sql.raw(isPostgres ? 'truncate sessions' : 'delete from sessions').execute(tables);
  await fixture.identity.revocations?.catchUp();
  t.equal(await reason(fixture.present(access.text)), 'revoked');
});
