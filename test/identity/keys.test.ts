import { readFileSync } from 'node:fs';
import t from 'tap';
import { bearer, code, createKey, firstPage, keyLogIn, open, reason, refusal } from './fixture.ts';

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
  const bytes = readFileSync(fixture.file, 'latin1') + readFileSync(`${fixture.file}-wal`, 'latin1');
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
