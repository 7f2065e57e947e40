import t from 'tap';
import { z } from 'zod';
import {
  bearer,
  code,
  createKey,
  createUser,
  Endpoints,
  logIn,
  open,
  password,
  reason,
  refusal,
} from './fixture.ts';

t.test('login answers as OAuth 2 clients expect, and names the user for the record', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  const { id } = await createUser(fixture, 'alice');
  const form = { username: 'alice', password, grant_type: 'password', scope: '', client_id: 'x' };
  const { status, headers, json, exchange } = await endpoints.call('POST /auth/login', { body: form });
  t.equal(status, 200);
  t.same(headers, { 'cache-control': 'no-store' });
  t.match(json, { token_type: 'bearer', expires_in: 1_800 });
  t.same(Object.keys(json), ['access_token', 'refresh_token', 'token_type', 'expires_in']);
  const principal = await bearer(fixture, String(json.access_token));
  t.equal(exchange.identifiedSubject, `user:${id}`);
  t.equal(exchange.credentialId, principal.sessionId);
  t.equal(endpoints.failures.records, 0);
});

t.test('a failed login takes from the address’s failures; without any left nothing is hashed', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  await createUser(fixture, 'alice');
  const login = (username: string, secret: string) =>
    refusal(endpoints.call('POST /auth/login', { body: { username, password: secret } }));
  const [unknown, wrong] = [await login('nobody', password), await login('alice', 'wrong')];
  t.equal(unknown?.reason, 'unknown_user');
  t.equal(wrong?.reason, 'wrong_password');
  t.same([unknown?.code, unknown?.detail], [wrong?.code, wrong?.detail], 'alike to the caller');
  t.equal(endpoints.failures.records, 2);
  endpoints.failures.refuse = true;
  const hashed = fixture.hashes.verify;
  t.equal((await login('alice', password))?.code, 'too_many_failures');
  t.equal(fixture.hashes.verify, hashed);
  t.equal(endpoints.failures.records, 2);
});

t.test('a key logs in, and a failed one is recorded by its public id', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  const { id, key } = await createKey(fixture);
  const login = (api_key: string) => endpoints.call('POST /auth/api-key-login', { body: { api_key } });
  const { json, exchange } = await login(key);
  t.same(exchange.identifiedSubject, `key:${id}`);
  t.equal(exchange.credentialId, id);
  t.match(await bearer(fixture, String(json.access_token)), { kind: 'key', keyId: id });
  await fixture.identity.keys.toggle(id);
  t.equal(await reason(login(key)), 'disabled');
  t.equal(await reason(login(String(json.access_token).slice(0, 250))), 'malformed');
  t.equal(endpoints.failures.records, 2);
});

t.test('refresh rotates; a used token is refused and counts as a failure', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  await createUser(fixture, 'alice');
  const grant = await logIn(fixture, 'alice');
  const refresh = (refresh_token: unknown) =>
    endpoints.call('POST /auth/refresh', { body: { refresh_token } });
  const { json, headers, exchange } = await refresh(grant.refresh.text);
  t.same(headers, { 'cache-control': 'no-store' });
  t.equal(exchange.identifiedSubject, grant.subject);
  t.match(await refusal(refresh(grant.refresh.text)), {
    code: 'invalid_credential',
    reason: 'reused',
    incident: 'refresh_reuse',
  });
  t.equal(await reason(refresh(json.refresh_token)), 'revoked');
  t.equal(await reason(refresh(grant.access.text)), 'wrong_type');
  t.equal(endpoints.failures.records, 3);
});

t.test('logout ends the session of the token presented, and with a key nothing', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  await createUser(fixture, 'alice');
  const { key } = await createKey(fixture);
  const { access, refresh } = await logIn(fixture, 'alice');
  const logout = async (text: string) =>
    (await endpoints.call('POST /auth/logout', { principal: await bearer(fixture, text) })).status;
  t.equal(await logout(access.text), 204);
  t.equal(await reason(bearer(fixture, access.text)), 'revoked');
  t.equal(await reason(fixture.identity.grants.refresh(refresh.text)), 'revoked');
  t.equal(await logout(key), 204);
  t.equal(await reason(bearer(fixture, key)), undefined);
});

t.test('me tells a user and a key who they are, without secrets', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  const user = await createUser(fixture, 'alice', { can_read: true });
  const { key } = await createKey(fixture);
  const me = async (text: string) =>
    (await endpoints.call('GET /auth/me', { principal: await bearer(fixture, text) })).json;
  const asUser = await me((await logIn(fixture, 'alice')).access.text);
  t.match(asUser, { kind: 'user', subject: `user:${user.id}`, username: 'alice', permissions: ['read'] });
  const asKey = await me(key);
  t.match(asKey, { kind: 'key', name: 'service', permissions: ['read'], can_read: true });
  t.notMatch(JSON.stringify([asUser, asKey]), /hash|hmac|argon/);
});

t.test('a user changes the password; a wrong current one counts as a failure', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  await createUser(fixture, 'alice');
  const principal = await bearer(fixture, (await logIn(fixture, 'alice')).access.text);
  const change = (current_password: string, new_password = 'another fine passphrase') =>
    endpoints.call('POST /auth/change-password', { principal, body: { current_password, new_password } });
  t.match(await refusal(change('wrong')), { code: 'validation_failed', reason: 'wrong_password' });
  t.equal(endpoints.failures.records, 1);
  t.match(await refusal(change(password, 'short')), { errors: [{ field: 'new_password' }] });
  t.equal(endpoints.failures.records, 1, 'a weak new one is no failure');
  t.equal((await change(password)).status, 204);
  t.ok(await logIn(fixture, 'alice', 'another fine passphrase'));
});

t.test('a key has no password to change', async (t) => {
  const fixture = await open(t);
  const principal = await bearer(fixture, (await createKey(fixture)).key);
  const body = { current_password: password, new_password: 'another fine passphrase' };
  const work = new Endpoints(fixture).call('POST /auth/change-password', { principal, body });
  t.equal(await code(work), 'permission_denied');
});

t.test(
  'the JWK Set has the key of assertions alone while tokens are signed with a shared secret',
  async (t) => {
    const fixture = await open(t);
    const { json } = await new Endpoints(fixture).call('GET /.well-known/jwks.json');
    t.match(json.keys, [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig' }]);
    t.equal((json.keys as unknown[]).length, 1);
  },
);

t.test('every endpoint is durable, classed and guarded as the table says', async (t) => {
  const table = new Endpoints(await open(t)).all.map(
    ({ method, path, permission, rateClass, durable }) =>
      `${method} ${path} ${permission} ${rateClass} ${durable ? 'durable' : 'buffered'}`,
  );
  t.same(table, [
    'POST /auth/login none public durable',
    'POST /auth/api-key-login none public durable',
    'POST /auth/refresh none public durable',
    'POST /auth/logout any write durable',
    'GET /auth/me any read durable',
    'POST /auth/change-password any write durable',
    'GET /.well-known/jwks.json none public buffered',
    'GET /admin/users admin admin durable',
    'POST /admin/users admin admin durable',
    'PATCH /admin/users/{id} admin admin durable',
    'POST /admin/users/{id}/toggle admin admin durable',
    'POST /admin/users/{id}/reset-password admin admin durable',
    'GET /admin/api-keys admin admin durable',
    'POST /admin/api-keys admin admin durable',
    'PATCH /admin/api-keys/{id} admin admin durable',
    'POST /admin/api-keys/{id}/toggle admin admin durable',
    'POST /admin/api-keys/{id}/rotate admin admin durable',
    'DELETE /admin/api-keys/{id} admin admin durable',
  ]);
});

t.test('every schema can stand on the API page, and none takes unknown fields', async (t) => {
  const endpoints = new Endpoints(await open(t));
  for (const { bodySchema, querySchema, answers, path } of endpoints.all) {
    for (const schema of [bodySchema, querySchema]) {
      if (schema === undefined) continue;
      t.match(z.toJSONSchema(schema, { io: 'input' }), { type: 'object' }, path);
      t.notOk(schema.safeParse({ unexpected: 1 }).success, `${path} refuses an unknown field`);
    }
    for (const { schema } of Object.values(answers)) {
      if (schema !== undefined) t.ok(z.toJSONSchema(schema), path);
    }
  }
});
