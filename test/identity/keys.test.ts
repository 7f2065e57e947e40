import t from 'tap';
import { newKeySchema } from '../../src/identity/shapes.ts';
import {
  bearer,
  code,
  createKey,
  everythingStored,
  firstPage,
  keyLogIn,
  open,
  reason,
  refusal,
  tablesOf,
} from './fixture.ts';

/** The write that nobody waits for. */
const writtenBeside = () => new Promise((resolve) => setTimeout(resolve, 200));

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

t.test('a key is created with what was given, and its text is shown once', async (t) => {
  const fixture = await open(t);
  const { key, ...shown } = await createKey(fixture, {
    description: 'for tests',
    expires_at: '2030-12-31T23:59:59',
  });
  t.match(key, new RegExp(`^mcp_${shown.id}_`));
  t.same(shown, {
    id: shown.id,
    name: 'service',
    description: 'for tests',
    can_create: false,
    can_read: true,
    can_update: false,
    can_delete: false,
    is_active: true,
    expires_at: '2030-12-31T23:59:59.000Z',
    created_at: '2030-01-01T00:00:00.000Z',
    updated_at: '2030-01-01T00:00:00.000Z',
    created_by: 'user:test',
    owner: null,
    last_used_at: null,
    idle: true,
    rotated_at: null,
    previous_valid_until: null,
  });
  t.same(await fixture.identity.keys.list(firstPage), { items: [shown], total: 1, ...firstPage });
  t.same(await fixture.identity.keys.get(shown.id), shown);
});

t.test('the database holds nothing of a key’s secret', async (t) => {
  const fixture = await open(t);
  const { key } = await createKey(fixture);
  const bytes = await everythingStored(t, fixture);
  t.ok(bytes.includes(key.slice(4, 16)), 'the id is there');
  t.notOk(bytes.includes(key.slice(17, 30)));
});

t.test('a time with a zone becomes UTC, one that is not ahead is refused', async (t) => {
  const fixture = await open(t);
  const { expires_at } = await createKey(fixture, { expires_at: '2030-06-01T12:00:00+02:00' });
  t.equal(expires_at, '2030-06-01T10:00:00.000Z');
  for (const past of ['2029-12-31T23:59:59Z', '2030-01-01T00:00:00Z', '2030-01-01T01:00:00+02:00']) {
    const failed = await refusal(createKey(fixture, { expires_at: past }));
    t.equal(failed?.code, 'validation_failed');
    t.same(failed?.errors, [{ field: 'expires_at', message: 'must be in the future' }]);
  }
});

t.test('a patch changes what it names and nothing else', async (t) => {
  const fixture = await open(t);
  const { key, ...before } = await createKey(fixture, { expires_at: '2030-12-31T23:59:59' });
  fixture.clock.nowMs += 1_000;
  const changes = { can_create: true, can_read: false, expires_at: null, description: 'changed' };
  const after = await fixture.identity.keys.patch(before.id, changes);
  t.same(after, { ...before, ...changes, updated_at: '2030-01-01T00:00:01.000Z' });
  t.same([...(await bearer(fixture, key)).permissions], ['create']);
});

t.test('toggle flips, or sets, so that a retry does not switch a key back on', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const { id, key } = await createKey(fixture);
  t.equal((await keys.toggle(id)).is_active, false);
  t.equal(await reason(keyLogIn(fixture, key)), 'disabled');
  t.equal((await keys.toggle(id)).is_active, true);
  t.equal((await keys.toggle(id, false)).is_active, false);
  t.equal((await keys.toggle(id, false)).is_active, false);
});

t.test('setting an active key active keeps its sessions', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  const { access } = await keyLogIn(fixture, key);
  await fixture.identity.keys.toggle(id, true);
  await fixture.identity.keys.patch(id, { name: 'renamed' });
  t.equal(await reason(bearer(fixture, access.text)), undefined);
});

t.test('rotate gives a new secret to the same id; the old one is dead at once', async (t) => {
  const fixture = await open(t);
  const old = await createKey(fixture);
  const { key, ...shown } = await fixture.identity.keys.rotate(old.id);
  t.equal(shown.id, old.id);
  t.equal(shown.rotated_at, '2030-01-01T00:00:00.000Z');
  t.equal(await reason(bearer(fixture, key)), undefined);
  t.equal(await reason(bearer(fixture, old.key)), 'wrong_secret');
});

t.test('a deleted key is gone', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  await fixture.identity.keys.delete(id);
  t.equal(await reason(bearer(fixture, key)), 'unknown_key');
  t.equal(await code(fixture.identity.keys.delete(id)), 'resource_not_found');
});

t.test('an unknown id is not found, whatever is asked', async (t) => {
  const { keys } = (await open(t)).identity;
  const tries = [keys.get('x'), keys.patch('x', {}), keys.toggle('x'), keys.rotate('x'), keys.delete('x')];
  t.same(
    await Promise.all(tries.map(code)),
    tries.map(() => 'resource_not_found'),
  );
});

t.test('both secrets work for the overlap, and the old one is dead at its end', async (t) => {
  const fixture = await open(t);
  const old = await createKey(fixture);
  const { key, ...shown } = await fixture.identity.keys.rotate(old.id, hourMs);
  t.match(shown, { id: old.id, previous_valid_until: '2030-01-01T01:00:00.000Z' });
  fixture.clock.nowMs += hourMs - 1;
  t.equal(await reason(bearer(fixture, old.key)), undefined, 'to the last millisecond');
  t.equal(await reason(bearer(fixture, key)), undefined);
  fixture.clock.nowMs += 1;
  t.equal(await reason(bearer(fixture, old.key)), 'expired');
  t.equal(await reason(keyLogIn(fixture, old.key)), 'expired');
  t.equal(await reason(bearer(fixture, key)), undefined);
});

t.test('rotating again during an overlap ends the older secret and its sessions', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const first = await createKey(fixture);
  const session = await keyLogIn(fixture, first.key);
  const second = await keys.rotate(first.id, hourMs);
  t.equal(await reason(bearer(fixture, session.access.text)), undefined);
  const third = await keys.rotate(first.id, hourMs);
  t.equal(await reason(bearer(fixture, first.key)), 'wrong_secret');
  t.equal(await reason(bearer(fixture, session.access.text)), 'revoked');
  t.equal(await reason(bearer(fixture, second.key)), undefined);
  t.equal(await reason(bearer(fixture, third.key)), undefined);
  const fourth = await keys.rotate(first.id);
  t.equal(fourth.previous_valid_until, null);
  for (const { key } of [second, third]) t.equal(await reason(bearer(fixture, key)), 'wrong_secret');
});

t.test('of two rotations at once the second ends what was before the first', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const old = await createKey(fixture);
  const [one, two] = await Promise.all([keys.rotate(old.id, hourMs), keys.rotate(old.id, hourMs)]);
  t.equal(await reason(bearer(fixture, old.key)), 'wrong_secret');
  t.equal(await reason(bearer(fixture, one.key)), undefined);
  t.equal(await reason(bearer(fixture, two.key)), undefined);
});

t.test('a session opened with the old secret ends with it, however it is refreshed', async (t) => {
  const fixture = await open(t);
  const { keys, grants } = fixture.identity;
  const old = await createKey(fixture);
  const before = await keyLogIn(fixture, old.key);
  const { key } = await keys.rotate(old.id, 10 * minuteMs);
  const during = await keyLogIn(fixture, old.key);
  t.equal(during.access.lifetimeSeconds, 600);
  t.equal(during.refresh.lifetimeSeconds, 600);
  const renewed = await keyLogIn(fixture, key);
  fixture.clock.nowMs += 5 * minuteMs;
  const refreshed = await grants.refresh(before.refresh.text);
  t.equal(refreshed.access.lifetimeSeconds, 300);
  fixture.clock.nowMs += 5 * minuteMs;
  for (const { access } of [before, during, refreshed]) {
    t.equal(await reason(bearer(fixture, access.text)), 'expired');
  }
  t.equal(await reason(grants.refresh(refreshed.refresh.text)), 'expired');
  t.equal(await reason(bearer(fixture, renewed.access.text)), undefined);
  t.equal(await reason(grants.refresh(renewed.refresh.text)), undefined);
});

t.test('an overlap does not outlive the key, and a disabled key takes both secrets with it', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const old = await createKey(fixture, { expires_at: '2030-01-01T00:10:00Z' });
  const { key } = await keys.rotate(old.id, hourMs);
  await keys.toggle(old.id, false);
  for (const text of [old.key, key]) t.equal(await reason(bearer(fixture, text)), 'disabled');
  await keys.toggle(old.id, true);
  fixture.clock.nowMs += 10 * minuteMs;
  for (const text of [old.key, key]) t.equal(await reason(bearer(fixture, text)), 'expired');
});

t.test('expires_at is honoured to the millisecond, with and without a zone', async (t) => {
  const fixture = await open(t);
  const texts = ['2030-01-01T00:00:05', '2030-01-01T00:00:05Z', '2030-01-01T01:00:05+01:00'];
  const keys = await Promise.all(texts.map((expires_at) => createKey(fixture, { expires_at })));
  fixture.clock.nowMs += 4_999;
  for (const { key } of keys) t.equal(await reason(bearer(fixture, key)), undefined);
  fixture.clock.nowMs += 1;
  for (const { key } of keys) t.equal(await reason(bearer(fixture, key)), 'expired');
});

t.test('keys never used or idle for ninety days are listed, each with its state', async (t) => {
  const fixture = await open(t);
  const { keys } = fixture.identity;
  const names = async (idle: boolean) =>
    (await keys.list(firstPage, { idle })).items.map((key) => [key.name, key.idle]);
  const [used, old] = [await createKey(fixture, { name: 'used' }), await createKey(fixture, { name: 'old' })];
  await createKey(fixture, { name: 'never' });
  const use = async (key: string) => {
    await bearer(fixture, key);
    await writtenBeside();
  };
  await use(old.key);
  fixture.clock.nowMs += 90 * 24 * hourMs - 1;
  await use(used.key);
  t.same((await names(true)).sort(), [['never', true]]);
  fixture.clock.nowMs += 1;
  t.same((await names(true)).sort(), [
    ['never', true],
    ['old', true],
  ]);
  t.same((await names(false)).sort(), [
    ['never', true],
    ['old', true],
    ['used', false],
  ]);
  t.equal((await keys.list({ page: 2, page_size: 1 }, { idle: true })).total, 2);
});

t.test('what was used since the last write is written at the end', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  await bearer(fixture, key);
  fixture.clock.nowMs += 59_000;
  await bearer(fixture, key);
  await fixture.identity.close();
  const again = await open(t, fixture.database);
  t.equal((await again.identity.keys.get(id)).last_used_at, '2030-01-01T00:00:59.000Z');
});

t.test('a program that saw an earlier use does not overwrite a later one', async (t) => {
  const early = await open(t);
  const late = await open(t, early.database);
  const { id, key } = await createKey(early);
  late.clock.nowMs += 5_000;
  await bearer(late, key);
  await late.identity.close();
  await bearer(early, key);
  await writtenBeside();
  t.equal((await early.identity.keys.get(id)).last_used_at, '2030-01-01T00:00:05.000Z');
});

t.test('a session that does not know its secret ends with a rotation', async (t) => {
  const fixture = await open(t);
  const { id, key } = await createKey(fixture);
  const { access } = await keyLogIn(fixture, key);
  await tablesOf(t, fixture).updateTable('sessions').set({ key_hmac: null }).execute();
  await fixture.identity.keys.rotate(id);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
});

t.test('a time that would not sort as text is refused', async (t) => {
  const accepts = (expires_at: string) => newKeySchema.safeParse({ name: 'k', expires_at }).success;
  t.ok(accepts('2030-12-31T23:59:59Z'));
  t.ok(accepts('9999-12-30T00:00:00-23:59'));
  for (const odd of ['9999-12-31T23:59:59-23:59', '0999-01-01T00:00:00Z', '+010000-01-01T00:00:00Z']) {
    t.notOk(accepts(odd), odd);
  }
});
