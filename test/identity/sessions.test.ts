import t from 'tap';
import { atOnce } from './another-program.ts';
import {
  address,
  bearer,
  createKey,
  createUser,
  keyLogIn,
  logIn,
  open,
  password,
  reason,
  tablesOf,
} from './fixture.ts';

t.test('a refresh gives new tokens of the same session; the old access token still works', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const first = await logIn(fixture, 'alice');
  const second = await fixture.identity.grants.refresh(first.refresh.text);
  t.equal(second.sessionId, first.sessionId);
  t.equal(second.subject, first.subject);
  t.not(second.refresh.text, first.refresh.text);
  t.equal(await reason(bearer(fixture, second.access.text)), undefined);
  t.equal(await reason(bearer(fixture, first.access.text)), undefined);
});

t.test('a refresh token used twice ends its whole session', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const other = await logIn(fixture, 'alice');
  const first = await logIn(fixture, 'alice');
  const second = await fixture.identity.grants.refresh(first.refresh.text);
  t.equal(await reason(fixture.identity.grants.refresh(first.refresh.text)), 'reused');
  t.equal(await reason(bearer(fixture, second.access.text)), 'revoked');
  t.equal(await reason(fixture.identity.grants.refresh(second.refresh.text)), 'revoked');
  t.equal(await reason(bearer(fixture, other.access.text)), undefined, 'other sessions go on');
});

t.test('of many who refresh with one token at once exactly one gets tokens', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const { refresh } = await logIn(fixture, 'alice');
  const tries = Array.from({ length: 20 }, () => reason(fixture.identity.grants.refresh(refresh.text)));
  const reasons = await Promise.all(tries);
  t.equal(reasons.filter((found) => found === undefined).length, 1);
  t.ok(reasons.every((found) => found === undefined || found === 'reused' || found === 'revoked'));
});

t.test('of three programs on one database that refresh at once one wins as well', async (t) => {
  const fixture = await open(t);
  fixture.clock.nowMs = Date.now();
  await createUser(fixture, 'alice');
  const { refresh } = await logIn(fixture, 'alice');
  const task = { database: fixture.database, action: 'refresh', text: refresh.text } as const;
  const results = await atOnce([task, task, task]);
  t.equal(results.filter((result) => result === 'ok').length, 1);
  t.ok(
    results.every((result) => ['ok', 'reused', 'revoked'].includes(result)),
    results.join(),
  );
});

t.test('a session lives as long as it is refreshed in time', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  let { refresh } = await logIn(fixture, 'alice');
  for (let day = 0; day < 12; day += 6) {
    fixture.clock.nowMs += 6 * 86_400_000;
    ({ refresh } = await fixture.identity.grants.refresh(refresh.text));
  }
  fixture.clock.nowMs += 7 * 86_400_000;
  t.equal(await reason(fixture.identity.grants.refresh(refresh.text)), 'expired');
});

t.test('a refresh gives what the user may do now, and a disabled one nothing', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice', { can_read: true });
  const { refresh } = await logIn(fixture, 'alice');
  await fixture.identity.users.patch(id, { can_read: false, can_create: true });
  const next = await fixture.identity.grants.refresh(refresh.text);
  const [, payload = ''] = next.access.text.split('.');
  t.equal(JSON.parse(Buffer.from(payload, 'base64url').toString()).scope, 'create');
  await fixture.identity.users.toggle(id, false);
  t.equal(await reason(fixture.identity.grants.refresh(next.refresh.text)), 'revoked');
});

t.test('an ended session stays ended when its user is enabled again', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  const { access } = await logIn(fixture, 'alice');
  await fixture.identity.users.toggle(id);
  await fixture.identity.users.toggle(id);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  t.equal(await reason(bearer(fixture, (await logIn(fixture, 'alice')).access.text)), undefined);
});

t.test('ending one session leaves the others, ending all of a subject leaves other subjects', async (t) => {
  const fixture = await open(t);
  const { sessions } = fixture.identity;
  const alice = await createUser(fixture, 'alice');
  await createUser(fixture, 'bob');
  const grants = [await logIn(fixture, 'alice'), await logIn(fixture, 'alice'), await logIn(fixture, 'bob')];
  const reasons = () => Promise.all(grants.map(({ access }) => reason(bearer(fixture, access.text))));
  await sessions.end(grants[0]?.sessionId ?? '', 'logout');
  t.same(await reasons(), ['revoked', undefined, undefined]);
  await sessions.endAllOf({ kind: 'user', id: alice.id }, 'disabled');
  t.same(await reasons(), ['revoked', 'revoked', undefined]);
});

t.test('no session begins on a password or secret that was changed while it was checked', async (t) => {
  const fixture = await open(t);
  const { users, keys, grants } = fixture.identity;
  const { id } = await createUser(fixture, 'alice');
  const row = await users.authenticate('alice', password, address);
  await users.resetPassword(id);
  t.equal(await reason(grants.begin({ kind: 'user', row })), 'revoked');
  const { id: keyId, key } = await createKey(fixture);
  const held = await keys.authenticate(key);
  await keys.rotate(keyId);
  t.equal(await reason(grants.begin({ kind: 'key', held })), 'revoked');
});

t.test('expired sessions are cleared away, and a subject keeps a bounded number', async (t) => {
  const fixture = await open(t);
  const { key } = await createKey(fixture);
  const first = await keyLogIn(fixture, key);
  const tables = tablesOf(t, fixture);
  const all = tables.selectFrom('sessions').selectAll();
  const count = async () => (await all.execute()).length;
  const row = await all.executeTakeFirstOrThrow();
  const times = { created_at: '2030-01-01T00:00:01.000Z', expires_at: '2030-01-02T00:00:00.000Z' };
  const copies = Array.from({ length: 999 }, (_, index) => ({ ...row, ...times, id: `${row.id}${index}` }));
  await tables.insertInto('sessions').values(copies).execute();
  fixture.clock.nowMs += 2_000;
  const last = await keyLogIn(fixture, key);
  t.equal(await count(), 1_000);
  t.equal(await reason(bearer(fixture, first.access.text)), 'revoked', 'the oldest is gone');
  t.equal(await reason(bearer(fixture, last.access.text)), undefined);
  fixture.clock.nowMs += 2 * 86_400_000;
  await keyLogIn(fixture, key);
  t.equal(await count(), 1_000 + 1 - 20);
});

t.test('an access token never outlives a session shorter than it', async (t) => {
  const fixture = await open(t, undefined, { tokens: { refresh_lifetime: '1m' } });
  await createUser(fixture, 'alice');
  const { access, refresh } = await logIn(fixture, 'alice');
  t.equal(access.lifetimeSeconds, 60);
  t.equal(refresh.lifetimeSeconds, 60);
});
