import t from 'tap';
import { atOnce } from './another-program.ts';
import {
  address,
  bearer,
  code,
  createUser,
  firstPage,
  logIn,
  open,
  password,
  reason,
  refusal,
} from './fixture.ts';

const change = (id: string, current: string, next: string, sessionId?: string) => ({
  id,
  current,
  next,
  clientAddress: address,
  sessionId,
});

t.test('a user is created, listed and read without the hash', async (t) => {
  const fixture = await open(t);
  const user = await createUser(fixture, 'Alice', { email: 'alice@example.com', can_read: true });
  t.same(user, {
    id: user.id,
    username: 'Alice',
    email: 'alice@example.com',
    can_create: false,
    can_read: true,
    can_update: false,
    can_delete: false,
    is_admin: false,
    is_active: true,
    created_at: '2030-01-01T00:00:00.000Z',
    updated_at: '2030-01-01T00:00:00.000Z',
    last_login_at: null,
    locked_until: null,
    locked_addresses: 0,
  });
  t.same(await fixture.identity.users.list(firstPage), { items: [user], total: 1, ...firstPage });
  t.same(await fixture.identity.users.get(user.id), user);
  t.same(await fixture.identity.users.getByName('ALICE'), user);
});

t.test('usernames are unique in any case, also at once', async (t) => {
  const fixture = await open(t);
  const codes = await Promise.all(['alice', 'ALICE', 'Alice'].map((name) => code(createUser(fixture, name))));
  t.same(codes.sort(), ['conflict', 'conflict', undefined]);
});

t.test('lists are paged', async (t) => {
  const fixture = await open(t);
  for (const name of ['a1', 'b2', 'c3']) {
    await createUser(fixture, name);
    fixture.clock.nowMs += 1;
  }
  const names = async (page: number) =>
    (await fixture.identity.users.list({ page, page_size: 2 })).items.map(({ username }) => username);
  t.same([await names(1), await names(2), await names(3)], [['a1', 'b2'], ['c3'], []]);
});

t.test('attack 32: unknown user, wrong password and disabled user cost one hash each', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const { id } = await createUser(fixture, 'alice');
  const costs = async (work: Promise<unknown>) => {
    const before = fixture.hashes.verify + fixture.hashes.hash;
    return [await reason(work), fixture.hashes.verify + fixture.hashes.hash - before];
  };
  t.same(await costs(users.authenticate('nobody', password, address)), ['unknown_user', 1]);
  t.same(await costs(users.authenticate('alice', 'wrong', address)), ['wrong_password', 1]);
  await users.toggle(id);
  t.same(await costs(users.authenticate('alice', password, address)), ['disabled', 1]);
  t.same(await costs(users.authenticate('alice', 'wrong', address)), ['wrong_password', 1]);
});

t.test('a login is in any case of the name, and is remembered', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  fixture.clock.nowMs += 1_000;
  await logIn(fixture, 'ALICE');
  t.equal((await fixture.identity.users.get(id)).last_login_at, '2030-01-01T00:00:01.000Z');
});

t.test('a hash made with other parameters is replaced at login, once', async (t) => {
  const before = await open(t);
  await createUser(before, 'alice');
  const after = await open(t, before.database, { passwords: { memory: '2MiB', iterations: 1 } });
  const started = after.hashes.hash;
  await logIn(after, 'alice');
  t.equal(after.hashes.hash, started + 1);
  await logIn(after, 'alice');
  t.equal(after.hashes.hash, started + 1);
});

t.test('a password change ends the other sessions and keeps this one', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const { id } = await createUser(fixture, 'alice');
  const mine = await logIn(fixture, 'alice');
  const other = await logIn(fixture, 'alice');
  await users.changePassword(change(id, password, 'another fine passphrase', mine.sessionId));
  t.equal(await reason(bearer(fixture, mine.access.text)), undefined);
  t.equal(await reason(bearer(fixture, other.access.text)), 'revoked');
  t.equal(await reason(logIn(fixture, 'alice')), 'wrong_password');
  t.equal(await reason(logIn(fixture, 'alice', 'another fine passphrase')), undefined);
});

t.test('a wrong current password names its field and changes nothing', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  const { access } = await logIn(fixture, 'alice');
  const failed = await refusal(
    fixture.identity.users.changePassword(change(id, 'wrong', 'another fine passphrase')),
  );
  t.match(failed, { code: 'validation_failed', reason: 'wrong_password' });
  t.same(failed?.errors, [{ field: 'current_password', message: 'is not the current password' }]);
  t.equal(await reason(bearer(fixture, access.text)), undefined);
});

t.test('of two password changes at once one wins', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  const attempt = (next: string) => code(fixture.identity.users.changePassword(change(id, password, next)));
  const codes = await Promise.all([attempt('another fine passphrase'), attempt('yet another passphrase')]);
  // Where one is through before the other has read the password, the other finds another password.
  t.equal(codes.filter((found) => found === undefined).length, 1);
  t.ok(
    codes.every((found) => [undefined, 'conflict', 'validation_failed'].includes(found)),
    codes.join(),
  );
});

t.test('a reset gives a generated password once and ends all sessions', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const { id } = await createUser(fixture, 'alice');
  const { access } = await logIn(fixture, 'alice');
  const generated = await users.resetPassword(id);
  t.match(generated, /^[0-9A-Za-z]{24}$/);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  t.equal(await reason(logIn(fixture, 'alice', generated)), undefined);
  t.equal(await users.resetPassword(id, 'a chosen passphrase'), 'a chosen passphrase');
  t.equal(await code(users.resetPassword(id, 'short')), 'validation_failed');
});

t.test('the last active admin can be neither disabled nor demoted', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const root = await createUser(fixture, 'root', { is_admin: true });
  t.equal(await code(users.toggle(root.id)), 'conflict');
  t.equal(await code(users.toggle(root.id, false)), 'conflict');
  t.equal(await code(users.patch(root.id, { is_admin: false })), 'conflict');
  t.equal(await code(users.toggle(root.id, true)), undefined, 'what takes nothing away is allowed');
  const other = await createUser(fixture, 'other', { is_admin: true });
  await users.toggle(other.id, false);
  t.equal(
    await code(users.patch(root.id, { is_admin: false })),
    'conflict',
    'a disabled admin does not count',
  );
  t.equal(await code(users.patch(other.id, { is_admin: false })), undefined, 'and can be demoted');
});

t.test('two admins who disable each other at once do not both succeed', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const a = await createUser(fixture, 'admin-a', { is_admin: true });
  const b = await createUser(fixture, 'admin-b', { is_admin: true });
  const results = [code(users.toggle(a.id)), code(users.patch(b.id, { is_admin: false }))];
  t.same((await Promise.all(results)).sort(), ['conflict', undefined]);
});

t.test('nor do they from two programs', async (t) => {
  const fixture = await open(t);
  const ids = ['admin-a', 'admin-b', 'admin-c'].map((name) => createUser(fixture, name, { is_admin: true }));
  const tasks = (await Promise.all(ids)).map(
    ({ id }) => ({ database: fixture.database, action: 'disable', text: id }) as const,
  );
  t.same((await atOnce(tasks)).sort(), ['conflict', 'ok', 'ok']);
});

t.test('an unknown id is not found, whatever is asked', async (t) => {
  const { users } = (await open(t)).identity;
  const tries = [users.get('x'), users.patch('x', {}), users.toggle('x'), users.resetPassword('x')];
  t.same(
    await Promise.all(tries.map(code)),
    tries.map(() => 'resource_not_found'),
  );
});

t.test('neither password nor hash is in any error', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  await createUser(fixture, 'alice');
  const weak = 'Password1234';
  const tries = [
    () => createUser(fixture, 'alice'),
    () => users.authenticate('alice', weak, address),
    () => createUser(fixture, 'bob', { password: weak }),
  ];
  for (const work of tries) {
    const failed = await refusal(work());
    t.ok(failed);
    const text = JSON.stringify([failed, failed?.message, failed?.stack, String(failed?.cause)]);
    t.notMatch(text, weak);
    t.notMatch(text, 'argon2id');
  }
});
