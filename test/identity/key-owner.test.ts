/** A key that belongs to a user: it is told apart by that user where limits ask, and dies with them. */
import t from 'tap';
import { newKeySchema } from '../../src/identity/shapes.ts';
import { bearer, createKey, createUser, keyLogIn, open, openBelieving, reason, refusal } from './fixture.ts';

t.test('a key belongs to the user it was made for, and says so', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const ada = await createUser(fixture, 'ada');
  const { id, key, owner } = await createKey(fixture, { owner: ada.id });
  t.equal(owner, ada.id);
  t.equal((await keys.get(id)).owner, ada.id);
  const { access } = await keyLogIn(fixture, key);
  for (const credential of [key, access.text]) {
    t.match(await bearer(fixture, credential), { subject: `key:${id}`, owner: `user:${ada.id}` });
  }
});

t.test('a key without an owner is by itself', async (t) => {
  const fixture = await open(t);
  const { key, owner } = await createKey(fixture);
  t.equal(owner, null);
  const { access } = await keyLogIn(fixture, key);
  for (const credential of [key, access.text]) {
    t.notOk('owner' in (await bearer(fixture, credential)));
  }
});

t.test('an owner that is nobody is refused', async (t) => {
  const fixture = await open(t);
  const errors = [{ field: 'owner', message: 'no user has this id' }];
  t.match(await refusal(createKey(fixture, { owner: 'nobody' })), { code: 'validation_failed', errors });
  const { id } = await createKey(fixture);
  const patched = fixture.identity.keys.patch(id, { owner: 'nobody' });
  t.match(await refusal(patched), { code: 'validation_failed', errors });
  t.equal((await fixture.identity.keys.get(id)).owner, null);
  for (const odd of ['', 'user:x', 'a b', 7, 'x'.repeat(65)]) {
    t.notOk(newKeySchema.safeParse({ name: 'k', owner: odd }).success, JSON.stringify(odd));
  }
});

t.test('the owner of a key that is there can be set, changed and taken away', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const [ada, bob] = [await createUser(fixture, 'ada'), await createUser(fixture, 'bob')];
  const { id, key } = await createKey(fixture);
  for (const owner of [ada.id, bob.id, null]) {
    t.equal((await keys.patch(id, { owner })).owner, owner);
    t.equal((await bearer(fixture, key)).owner, owner === null ? undefined : `user:${owner}`);
  }
  await keys.patch(id, { owner: ada.id });
  t.equal((await keys.patch(id, { name: 'renamed' })).owner, ada.id, 'what is not named stays');
  t.equal((await keys.rotate(id)).owner, ada.id);
});

t.test('with a disabled user the keys of that user are dead, and no others', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const [ada, bob] = [await createUser(fixture, 'ada'), await createUser(fixture, 'bob')];
  const hers = await createKey(fixture, { owner: ada.id });
  const his = await createKey(fixture, { owner: bob.id });
  const nobodys = await createKey(fixture);
  await users.toggle(ada.id, false);
  t.equal(await reason(bearer(fixture, hers.key)), 'disabled');
  t.equal(await reason(keyLogIn(fixture, hers.key)), 'disabled');
  for (const { key } of [his, nobodys]) t.equal(await reason(bearer(fixture, key)), undefined);
  await users.toggle(ada.id, true);
  t.equal(await reason(bearer(fixture, hers.key)), undefined, 'they come back with the user');
});

t.test('the sessions made from such a key end for good', async (t) => {
  const fixture = await open(t);
  const { users, grants } = fixture.identity;
  const ada = await createUser(fixture, 'ada');
  const { key } = await createKey(fixture, { owner: ada.id });
  const apart = await keyLogIn(fixture, (await createKey(fixture)).key);
  const { access, refresh } = await keyLogIn(fixture, key);
  t.equal(await reason(bearer(fixture, access.text)), undefined);
  await users.toggle(ada.id, false);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  t.equal(await reason(grants.refresh(refresh.text)), 'revoked');
  await users.toggle(ada.id, true);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked', 'whoever has the key logs in again');
  t.equal(await reason(bearer(fixture, apart.access.text)), undefined);
});

t.test('a key given to a disabled user is dead, and its session with it', async (t) => {
  const fixture = await open(t);
  const { users, keys, grants } = fixture.identity;
  const ada = await createUser(fixture, 'ada');
  await users.toggle(ada.id, false);
  const { id, key } = await createKey(fixture);
  const { access, refresh } = await keyLogIn(fixture, key);
  await keys.patch(id, { owner: ada.id });
  t.equal(await reason(bearer(fixture, key)), 'disabled');
  t.equal(await reason(bearer(fixture, access.text)), 'disabled');
  t.equal(await reason(grants.refresh(refresh.text)), 'disabled');
});

t.test('a login that was under way when the user was disabled opens nothing', async (t) => {
  const fixture = await open(t);
  const { users, keys, grants } = fixture.identity;
  const ada = await createUser(fixture, 'ada');
  const { key } = await createKey(fixture, { owner: ada.id });
  const held = await keys.authenticate(key);
  await users.toggle(ada.id, false);
  t.equal(await reason(grants.begin({ kind: 'key', held })), 'revoked');
});

t.test('a user who is demoted keeps the keys: what they may do is their own', async (t) => {
  const fixture = await open(t);
  const ada = await createUser(fixture, 'ada', { can_delete: true });
  const { key } = await createKey(fixture, { owner: ada.id, can_delete: true });
  await fixture.identity.users.patch(ada.id, { can_delete: false });
  t.ok((await bearer(fixture, key)).permissions.has('delete'));
});

t.test(
  'a key that is remembered is dead with its user at once here, and elsewhere with the next look',
  async (t) => {
    const here = await openBelieving(t);
    const elsewhere = await openBelieving(t, here.database);
    const ada = await createUser(here, 'ada');
    const { key } = await createKey(here, { owner: ada.id });
    const apart = await createKey(here);
    for (const fixture of [here, elsewhere]) {
      t.equal((await fixture.present(key)).owner, `user:${ada.id}`);
      await fixture.present(apart.key);
    }
    await here.identity.users.toggle(ada.id, false);
    t.equal(await reason(here.present(key)), 'disabled', 'at once');
    await elsewhere.identity.revocations?.catchUp();
    t.equal(await reason(elsewhere.present(key)), 'disabled');
    for (const fixture of [here, elsewhere]) {
      const { hit } = fixture.verified.counts;
      await fixture.present(apart.key);
      t.equal(fixture.verified.counts.hit, hit + 1, 'whoever is not meant is not asked for again');
    }
  },
);

t.test('a key that changes hands is known by its new owner, here and elsewhere', async (t) => {
  const here = await openBelieving(t);
  const elsewhere = await openBelieving(t, here.database);
  const [ada, bob] = [await createUser(here, 'ada'), await createUser(here, 'bob')];
  const { id, key } = await createKey(here, { owner: ada.id });
  for (const fixture of [here, elsewhere]) await fixture.present(key);
  for (const owner of [bob.id, null, ada.id]) {
    await here.identity.keys.patch(id, { owner });
    await elsewhere.identity.revocations?.catchUp();
    for (const fixture of [here, elsewhere]) {
      t.equal((await fixture.present(key)).owner, owner === null ? undefined : `user:${owner}`);
    }
  }
});
