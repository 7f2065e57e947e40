import t from 'tap';
import { atOnce } from './another-program.ts';
import { bearer, code, createUser, firstPage, logIn, open, password } from './fixture.ts';

t.test('setup makes the first admin and the first key, and tells their secrets', async (t) => {
  const fixture = await open(t);
  t.equal(await fixture.identity.isEmpty(), true);
  const first = await fixture.identity.setup();
  t.equal(await fixture.identity.isEmpty(), false);
  t.match(first?.admin, { username: 'admin', is_admin: true, is_active: true });
  t.equal(first?.passwordGenerated, true);
  const admin = await bearer(fixture, (await logIn(fixture, 'admin', first?.password)).access.text);
  t.ok(admin.permissions.has('admin'));
  t.same([...(await bearer(fixture, first?.key.key ?? '')).permissions], ['create', 'read', 'update']);
  t.equal(first?.key.created_by, admin.subject);
});

t.test('setup is done once, however many ask at once', async (t) => {
  const { identity } = await open(t);
  const results = await Promise.all([identity.setup(), identity.setup(), identity.setup()]);
  t.equal(results.filter((result) => result !== undefined).length, 1);
  t.equal(await identity.setup(), undefined);
});

t.test('setup is done once, by whichever program is first', async (t) => {
  const { identity, database } = await open(t);
  const task = { database, action: 'setup' } as const;
  t.same((await atOnce([task, task, task])).sort(), ['nothing', 'nothing', 'ok']);
  t.equal((await identity.users.list(firstPage)).total, 1);
  t.equal((await identity.keys.list(firstPage)).total, 1);
});

t.test('setup does nothing where there is a user already', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  t.equal(await fixture.identity.setup(), undefined);
  t.equal((await fixture.identity.keys.list(firstPage)).total, 0);
});

t.test('ADMIN_PASSWORD is taken if it is good, and nothing is made if it is not (attacks 30)', async (t) => {
  const fixture = await open(t);
  const { identity } = fixture;
  for (const adminPassword of ['admin', 'administrator', '', 'my-admin-password']) {
    t.equal(await code(identity.setup({ adminPassword })), 'validation_failed');
  }
  t.equal(await identity.isEmpty(), true);
  t.match(await identity.setup({ adminPassword: password }), { password, passwordGenerated: false });
  t.ok(await logIn(fixture, 'admin'));
});
