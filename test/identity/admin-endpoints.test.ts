import t from 'tap';
import { z } from 'zod';
import {
  bearer,
  code,
  createKey,
  createUser,
  Endpoints,
  type Fixture,
  logIn,
  open,
  password,
  reason,
} from './fixture.ts';

/** The endpoints, and an admin to call them as. */
async function asAdmin(fixture: Fixture) {
  await createUser(fixture, 'root', { is_admin: true });
  const principal = await bearer(fixture, (await logIn(fixture, 'root')).access.text);
  const endpoints = new Endpoints(fixture);
  const call = (name: string, id?: string, body?: object, query?: Record<string, string>) =>
    endpoints.call(name, {
      principal,
      ...(id !== undefined && { params: { id } }),
      ...(body !== undefined && { body }),
      ...(query !== undefined && { query }),
    });
  return { call, principal };
}

t.test('the life of a user, over HTTP’s fields', async (t) => {
  const fixture = await open(t);
  const { call } = await asAdmin(fixture);
  const fields = { username: 'newuser', email: 'user@example.com', is_admin: false };
  const created = await call('POST /admin/users', undefined, { ...fields, password });
  t.equal(created.status, 201);
  t.match(created.json, { ...fields, is_active: true, can_read: false });
  const id = String(created.json.id);
  const { access } = await logIn(fixture, 'newuser');

  const patched = await call('PATCH /admin/users/{id}', id, { can_read: true, email: null });
  t.match(patched.json, { can_read: true, email: null });
  t.equal((await call('POST /admin/users/{id}/toggle', id)).json.is_active, false);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  t.equal((await call('POST /admin/users/{id}/toggle', id, { is_active: false })).json.is_active, false);
  t.equal((await call('POST /admin/users/{id}/toggle', id)).json.is_active, true);

  const reset = await call('POST /admin/users/{id}/reset-password', id);
  t.same(reset.headers, { 'cache-control': 'no-store' });
  t.ok(await logIn(fixture, 'newuser', String(reset.json.password)));
  const given = await call('POST /admin/users/{id}/reset-password', id, { password });
  t.notOk('password' in given.json, 'one that was given is not repeated');
  t.ok(await logIn(fixture, 'newuser'));
});

t.test('the life of a key, over HTTP’s fields', async (t) => {
  const fixture = await open(t);
  const { call, principal } = await asAdmin(fixture);
  const fields = {
    name: 'readonly-service',
    description: 'Read-only access for monitoring',
    can_create: false,
    can_read: true,
    can_update: false,
    can_delete: false,
  };
  const expiry = { expires_at: '2035-12-31T23:59:59' };
  const created = await call('POST /admin/api-keys', undefined, { ...fields, ...expiry });
  t.equal(created.status, 201);
  t.same(created.headers, { 'cache-control': 'no-store' });
  t.match(created.json, { ...fields, expires_at: '2035-12-31T23:59:59.000Z', created_by: principal.subject });
  const { id, key } = { id: String(created.json.id), key: String(created.json.key) };

  const patched = await call('PATCH /admin/api-keys/{id}', id, { can_create: true, expires_at: null });
  t.match(patched.json, { can_create: true, expires_at: null });
  t.equal((await call('POST /admin/api-keys/{id}/toggle', id)).json.is_active, false);
  t.equal((await call('POST /admin/api-keys/{id}/toggle', id, { is_active: true })).json.is_active, true);
  const rotated = await call('POST /admin/api-keys/{id}/rotate', id);
  t.equal(await reason(bearer(fixture, key)), 'wrong_secret');
  t.match(await bearer(fixture, String(rotated.json.key)), { keyId: id });
  const listed = await call('GET /admin/api-keys', undefined, undefined, { page_size: '5' });
  t.match(listed.json, { total: 1, page: 1, page_size: 5, items: [{ id }] });
  t.notMatch(JSON.stringify(listed.json), /hmac|secret|"key"/);
  t.equal((await call('DELETE /admin/api-keys/{id}', id)).status, 204);
  t.equal(await code(call('DELETE /admin/api-keys/{id}', id)), 'resource_not_found');
});

t.test('a list of users shows no hash, and a page out of range is refused', async (t) => {
  const fixture = await open(t);
  const { call } = await asAdmin(fixture);
  const listed = await call('GET /admin/users');
  t.match(listed.json, { total: 1, page: 1, page_size: 20 });
  t.notMatch(JSON.stringify(listed.json), /hash|argon/);
  for (const query of [{ page: '0' }, { page_size: '101' }, { page: 'x' }, { page: '1.5' }, { sort: 'id' }]) {
    await t.rejects(call('GET /admin/users', undefined, undefined, { ...query }), { name: 'ZodError' });
  }
});

t.test('a body that is wrong is refused with its field', async (t) => {
  const { call } = await asAdmin(await open(t));
  const wrong: [string, string, object][] = [
    ['POST /admin/users', 'username', { username: 'a b', password }],
    ['POST /admin/users', 'password', { username: 'bob' }],
    ['POST /admin/users', 'email', { username: 'bob', password, email: 'nowhere' }],
    ['POST /admin/users', 'is_admin', { username: 'bob', password, is_admin: 'yes' }],
    ['POST /admin/api-keys', 'name', { can_read: true }],
    ['POST /admin/api-keys', 'name', { name: '  ' }],
    ['POST /admin/api-keys', 'expires_at', { name: 'x', expires_at: 'tomorrow' }],
    ['POST /admin/api-keys', 'expires_at', { name: 'x', expires_at: '2030-02-30T00:00:00Z' }],
    ['POST /admin/api-keys', 'can_read', { name: 'x', can_read: 1 }],
  ];
  for (const [name, field, body] of wrong) {
    const issues = await call(name, undefined, body).then(
      () => [],
      (error) => (error instanceof z.ZodError ? error.issues : Promise.reject(error)),
    );
    t.same(
      issues.map(({ path }) => path),
      [[field]],
      `${name} ${field}`,
    );
  }
});

t.test('rotate takes an overlap in words or seconds, seven days at most, none unless asked', async (t) => {
  const fixture = await open(t);
  const { call } = await asAdmin(fixture);
  const { id } = await createKey(fixture);
  const rotate = async (body?: object) =>
    (await call('POST /admin/api-keys/{id}/rotate', id, body)).json.previous_valid_until;
  t.equal(await rotate(), null);
  t.equal(await rotate({ overlap: '1h' }), '2030-01-01T01:00:00.000Z');
  t.equal(await rotate({ overlap: 90 }), '2030-01-01T00:01:30.000Z');
  t.equal(await rotate({ overlap: '7d' }), '2030-01-08T00:00:00.000Z');
  t.equal(await rotate({ overlap: 0 }), null);
  t.equal(await rotate({ overlap: '0s' }), null);
  for (const overlap of ['8d', 604_801, -1, 1.5, '1 h', 'soon', '', null, true]) {
    await t.rejects(rotate({ overlap }), { name: 'ZodError' }, String(overlap));
  }
});

t.test('keys that lie idle are listed apart', async (t) => {
  const fixture = await open(t);
  const { call } = await asAdmin(fixture);
  const { id } = await createKey(fixture);
  const idle = async (value: string) =>
    (await call('GET /admin/api-keys', undefined, undefined, { idle: value })).json;
  t.match(await idle('true'), { total: 1, items: [{ id, idle: true, last_used_at: null }] });
  await fixture.identity.keys.delete(id);
  const { key } = await createKey(fixture);
  await bearer(fixture, key);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.match(await idle('true'), { total: 0, items: [] });
  t.match(await idle('false'), { total: 1, items: [{ idle: false }] });
  await t.rejects(idle('yes'), { name: 'ZodError' });
});

t.test('a lock stands with its user in the list, and toggle lifts it', async (t) => {
  const fixture = await open(t);
  const { call } = await asAdmin(fixture);
  fixture.clock.nowMs += 1; // the list is by age
  const { id } = await createUser(fixture, 'alice');
  for (let count = 0; count < 10; count += 1) {
    await reason(fixture.identity.users.authenticate('alice', 'wrong', '203.0.113.9'));
  }
  const locked = { username: 'alice', locked_until: '2030-01-01T00:01:00.001Z', locked_addresses: 1 };
  t.match((await call('GET /admin/users')).json, { items: [{ locked_until: null }, locked] });
  const lifted = await call('POST /admin/users/{id}/toggle', id, { is_active: true });
  t.match(lifted.json, { is_active: true, locked_until: null, locked_addresses: 0 });
});
