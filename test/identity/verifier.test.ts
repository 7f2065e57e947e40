import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { generateApiKey } from '../../src/credentials/api-key.ts';
import { bearer, createKey, createUser, keyLogIn, logIn, open, reason } from './fixture.ts';

t.test('a key is accepted in either header, with the permissions of its row', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture, { can_delete: true });
  const read = fixture.identity.verifier.read({ authType: 'ApiKey', text: key });
  t.equal(read.credentialId, id, 'the public id is known before any look-up');
  const expected = { kind: 'key', subject: `key:${id}`, keyId: id, permissions: new Set(['read', 'delete']) };
  t.same((await read.verify()).principal, { ...expected, authType: 'ApiKey' });
  t.same(await bearer(fixture, key), { ...expected, authType: 'Bearer' });
});

t.test('a user’s token carries what the user may do now, not at login', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice', { can_read: true });
  const { access, sessionId } = await logIn(fixture, 'alice');
  const expected = { kind: 'user', subject: `user:${id}`, authType: 'Bearer', sessionId };
  t.same(await bearer(fixture, access.text), { ...expected, permissions: new Set(['read']) });
  await fixture.identity.users.patch(id, { can_read: false, can_update: true });
  t.same(await bearer(fixture, access.text), { ...expected, permissions: new Set(['update']) });
});

t.test('an admin may do everything; a key never is one', async (t) => {
  const fixture = await open(t);
  const all = { can_create: true, can_read: true, can_update: true, can_delete: true };
  await createUser(fixture, 'root', { is_admin: true });
  const { key } = await createKey(fixture, all);
  const user = await bearer(fixture, (await logIn(fixture, 'root')).access.text);
  t.same([...user.permissions], ['create', 'read', 'update', 'delete', 'admin']);
  t.same([...(await bearer(fixture, key)).permissions], ['create', 'read', 'update', 'delete']);
});

t.test('a token made from a key is that key', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  const { access, sessionId } = await keyLogIn(fixture, key);
  t.same(await bearer(fixture, access.text), {
    kind: 'key',
    subject: `key:${id}`,
    keyId: id,
    authType: 'Bearer',
    permissions: new Set(['read']),
    sessionId,
  });
});

t.test('what is no credential is refused before any look-up', async (t) => {
  const { identity } = await open(t);
  await identity.close(); // a look-up would now be store_unavailable
  const read = (authType: 'ApiKey' | 'Bearer', text: string) =>
    reason((async () => identity.verifier.read({ authType, text }))());
  const { text } = generateApiKey('mcp_');
  t.equal(await read('ApiKey', 'a.b.c'), 'malformed');
  t.equal(await read('ApiKey', ''), 'malformed');
  t.equal(await read('Bearer', ''), 'malformed');
  t.equal(await read('Bearer', 'not a token'), 'malformed');
  t.equal(await read('Bearer', 'a'.repeat(8_193)), 'too_large');
  t.equal(await read('Bearer', `${text.slice(0, -1)}_`), 'malformed');
  t.equal(await read('Bearer', text.slice(0, -1) + (text.endsWith('0') ? '1' : '0')), 'bad_checksum');
});

t.test('attack 29: unknown, wrong, disabled and expired keys differ in reason only', async (t) => {
  const fixture = await open(t);
  const { identity, clock } = fixture;
  const { id, key } = await createKey(fixture, { expires_at: '2030-01-01T01:00:00' });
  t.equal(await reason(bearer(fixture, generateApiKey('mcp_').text)), 'unknown_key');
  t.equal(await reason(bearer(fixture, generateApiKey('mcp_', undefined, id).text)), 'wrong_secret');
  await identity.keys.toggle(id);
  t.equal(await reason(bearer(fixture, key)), 'disabled');
  await identity.keys.toggle(id);
  t.equal(await reason(bearer(fixture, key)), undefined);
  clock.nowMs = Date.parse('2030-01-01T00:59:59.999Z');
  t.equal(await reason(bearer(fixture, key)), undefined, 'to the last millisecond');
  clock.nowMs += 1;
  t.equal(await reason(bearer(fixture, key)), 'expired');
});

t.test('attack 31: a key’s token is dead with the key, however it dies', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  for (const kill of [keys.toggle, keys.rotate, keys.delete].map((action) => action.bind(keys))) {
    const { id, key } = await createKey(fixture);
    const { access } = await keyLogIn(fixture, key);
    t.equal(await reason(bearer(fixture, access.text)), undefined);
    await kill(id);
    t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  }
});

t.test('a token made from a key never outlives it', async (t) => {
  const fixture = await open(t);
  const { key } = await createKey(fixture, { expires_at: '2030-01-01T00:10:00Z' });
  const { access, refresh } = await keyLogIn(fixture, key);
  t.equal(access.lifetimeSeconds, 600);
  t.equal(refresh.lifetimeSeconds, 600);
  fixture.clock.nowMs += 600_000;
  t.equal(await reason(bearer(fixture, access.text)), 'expired');
  t.equal(await reason(fixture.identity.grants.refresh(refresh.text)), 'expired');
});

t.test('a key whose expiry is brought forward takes its tokens with it', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  const { access } = await keyLogIn(fixture, key);
  await fixture.identity.keys.patch(id, { expires_at: '2029-12-31T23:59:59Z' });
  t.equal(await reason(bearer(fixture, access.text)), 'expired');
});

t.test('a key sealed under an HMAC key that was taken out of the list is dead', async (t) => {
  const before = await open(t, undefined, {
    api_keys: { hmac_keys: ['a-first-hmac-key-of-32-bytes-at-least'] },
  });
  const { key } = await createKey(before);
  const list = ['another-hmac-key-of-32-bytes-at-least', 'a-first-hmac-key-of-32-bytes-at-least'];
  const during = await open(t, before.database, { api_keys: { hmac_keys: list } });
  t.equal(await reason(bearer(during, key)), undefined);
  const after = await open(t, before.database, { api_keys: { hmac_keys: list.slice(0, 1) } });
  t.equal(await reason(bearer(after, key)), 'wrong_secret');
});

t.test('last_used_at is written once a minute at most, and nobody waits for it', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  t.equal((await fixture.identity.keys.get(id)).last_used_at, null);
  /** Uses the key; the write goes on beside, so it is waited for here. */
  const becomes = async (expected: string) => {
    await bearer(fixture, key);
    for (let tries = 0; tries < 200; tries += 1) {
      const { last_used_at } = await fixture.identity.keys.get(id);
      if (last_used_at === expected) return t.pass(expected);
      await delay(10);
    }
    return t.fail(expected);
  };
  await becomes('2030-01-01T00:00:00.000Z');
  fixture.clock.nowMs += 59_000;
  await bearer(fixture, key);
  await delay(100);
  await becomes('2030-01-01T00:00:00.000Z');
  fixture.clock.nowMs += 1_000;
  await becomes('2030-01-01T00:01:00.000Z');
});
