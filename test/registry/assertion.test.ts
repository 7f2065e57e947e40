/** Who reaches the registry past the gateway, with everything but its signature. */
import { sign } from 'node:crypto';
import t from 'tap';
import { targetDigest } from '../support/assertion-signer.ts';
import { hmacSigned, part, publicForms, testKey } from '../support/issuer.ts';
import { gateway, plainTool, type TestRegistry, testRegistry } from './registry.ts';

const asked = { method: 'GET', target: '/tools' };

/** The status with this assertion, none of the test's own beside it. */
async function statusWith(
  registry: TestRegistry,
  assertion: string | undefined,
  { method, target }: { method: string; target: string } = asked,
): Promise<number> {
  const headers = assertion === undefined ? {} : { 'x-auth-assertion': assertion };
  const response = await fetch(`${registry.url}${target}`, { method, headers });
  await response.arrayBuffer();
  return response.status;
}

t.test('the control: with the gateway’s assertion it answers', async (t) => {
  t.equal(await statusWith(await testRegistry(t), gateway.assertion(asked)), 200);
});

t.test('who does not come through the gateway gets 401, on every path but two', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  for (const [method, target] of [
    ['GET', '/tools'],
    ['HEAD', '/tools'],
    ['POST', '/tools'],
    ['GET', '/tools/search?q=one'],
    ['GET', `/tools/${id}`],
    ['DELETE', `/tools/${id}`],
    ['GET', '/nowhere'],
    ['GET', '/health/'],
    ['GET', '/openapi.json/x'],
    ['OPTIONS', '/tools'],
  ] as const) {
    t.equal(await statusWith(registry, undefined, { method, target }), 401, `${method} ${target}`);
  }
  const response = await fetch(`${registry.url}/tools`);
  t.equal(response.headers.get('www-authenticate'), 'Assertion');
  t.equal(response.headers.get('content-type'), 'application/problem+json');
  t.match(await response.json(), { status: 401, code: 'invalid_assertion', request_id: String });
  t.ok(registry.log.some((line) => line.includes('"reason":"there is none"')));
  t.equal((await registry.send('GET', `/tools/${id}`)).status, 200, 'nothing was deleted');
});

t.test('whether it lives and what it takes is told to anyone', async (t) => {
  const registry = await testRegistry(t);
  for (const target of ['/health', '/openapi.json'])
    t.equal(await statusWith(registry, undefined, { method: 'GET', target }), 200, target);
});

t.test('an assertion replayed for another method, path or query is 401', async (t) => {
  const registry = await testRegistry(t);
  const assertion = gateway.assertion({ method: 'GET', target: '/tools?page=1' });
  for (const [method, target] of [
    ['HEAD', '/tools?page=1'],
    ['POST', '/tools?page=1'],
    ['GET', '/tools?page=2'],
    ['GET', '/tools?page=1&'],
    ['GET', '/tools?page=%31'],
    ['GET', '/tools?'],
    ['GET', '/tools'],
    ['GET', '/tools/search?page=1'],
  ] as const) {
    t.equal(await statusWith(registry, assertion, { method, target }), 401, `${method} ${target}`);
  }
  t.equal(await statusWith(registry, assertion, { method: 'GET', target: '/tools?page=1' }), 200);
});

t.test('an assertion replayed with another subject’s headers still means its own subject', async (t) => {
  const registry = await testRegistry(t);
  const assertion = gateway.assertion({ method: 'POST', target: '/tools', subject: 'user:mallory' });
  const response = await fetch(`${registry.url}/tools`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-auth-assertion': assertion,
      'x-auth-subject': 'user:admin',
    },
    body: JSON.stringify(plainTool('one')),
  });
  t.match(await response.json(), { created_by: 'user:mallory' });
});

t.test('an assertion after its time, or before it, is 401', async (t) => {
  let nowMs = Date.now();
  const registry = await testRegistry(t, () => nowMs);
  const assertion = gateway.assertion({ ...asked, nowMs });
  nowMs += 25_000;
  t.equal(await statusWith(registry, assertion), 200);
  nowMs += 11_000;
  t.equal(await statusWith(registry, assertion), 401);
  nowMs -= 50_000;
  t.equal(await statusWith(registry, assertion), 401);
});

t.test('one that says it lives longer than they do is 401 after half a minute all the same', async (t) => {
  let nowMs = Date.now();
  const registry = await testRegistry(t, () => nowMs);
  const exp = Math.floor(nowMs / 1000) + 3_600;
  const assertion = gateway.assertion({ ...asked, nowMs }, { claims: { exp } });
  nowMs += 40_000;
  t.equal(await statusWith(registry, assertion), 401);
});

for (const [what, changes] of Object.entries({
  'an access token’s type': { header: { typ: 'at+jwt' } },
  'no type': { header: { typ: undefined } },
  'the type JWT': { header: { typ: 'JWT' } },
  'another audience': { claims: { aud: 'billing' } },
  'no audience': { claims: { aud: undefined } },
  'another issuer': { claims: { iss: 'https://evil.example' } },
  'no end': { claims: { exp: undefined } },
  'no beginning': { claims: { iat: undefined } },
  'an end that is no number': { claims: { exp: '9999999999' } },
  'no subject': { claims: { sub: undefined } },
  'no method': { claims: { method: undefined } },
  'no target': { claims: { target_sha256: undefined } },
  'the target itself for its digest': { claims: { target_sha256: '/tools' } },
  'an extension that is demanded': { header: { crit: ['x'], x: 1 } },
  'a key of its own in the header': { header: { kid: undefined, jwk: testKey('EdDSA').jwk } },
  'a link to keys': { header: { kid: 'evil', jku: 'http://127.0.0.1:9/keys' } },
}))
  t.test(`one with ${what} is 401, well signed as it is`, async (t) => {
    t.equal(await statusWith(await testRegistry(t), gateway.assertion(asked, changes)), 401);
  });

t.test('attack 21: alg none, in any case, is 401', async (t) => {
  const registry = await testRegistry(t);
  const [, payload = ''] = gateway.assertion(asked).split('.');
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
    const header = part({ alg, typ: 'portcullis-assertion+jwt', kid: gateway.key.kid });
    t.equal(await statusWith(registry, `${header}.${payload}.`), 401, alg);
  }
});

t.test('attack 22: HS256 under the public key, in any form, is 401', async (t) => {
  const registry = await testRegistry(t);
  const [, payload = ''] = gateway.assertion(asked).split('.');
  const claims = Buffer.from(payload, 'base64url').toString();
  const header = { alg: 'HS256', typ: 'portcullis-assertion+jwt', kid: gateway.key.kid };
  for (const secret of [...publicForms(gateway.key), gateway.jwks]) {
    t.equal(await statusWith(registry, hmacSigned(header, claims, secret)), 401);
    t.equal(await statusWith(registry, hmacSigned({ ...header, alg: 'EdDSA' }, claims, secret)), 401);
  }
});

t.test('another’s key under the gateway’s name, and a changed letter, are 401', async (t) => {
  const registry = await testRegistry(t);
  const good = gateway.assertion(asked);
  const [head = '', payload = '', signature = ''] = good.split('.');
  const forged = sign(null, Buffer.from(`${head}.${payload}`), testKey('EdDSA').privateKey);
  t.equal(await statusWith(registry, `${head}.${payload}.${forged.toString('base64url')}`), 401);
  const other = Buffer.from(payload, 'base64url').toString().replace('"sub":""', '"sub":"user:admin"');
  t.equal(await statusWith(registry, `${head}.${part(other)}.${signature}`), 401);
  t.equal(await statusWith(registry, good), 200);
});

t.test('what is no assertion at all is 401', async (t) => {
  const registry = await testRegistry(t);
  for (const text of [
    '',
    'x',
    'a.b',
    'a.b.c',
    '..',
    `${'x'.repeat(9_000)}`,
    '{}',
    `${gateway.assertion(asked)}, x`,
  ])
    t.equal(await statusWith(registry, text), 401, text.slice(0, 20));
});

t.test('two assertions at once are 401, good as they are', async (t) => {
  const registry = await testRegistry(t);
  const one = gateway.assertion(asked);
  const headers = new Headers([
    ['x-auth-assertion', one],
    ['x-auth-assertion', one],
  ]);
  t.equal((await fetch(`${registry.url}/tools`, { headers })).status, 401);
});

t.test('its log tells why, and never the assertion', async (t) => {
  const registry = await testRegistry(t);
  const assertion = gateway.assertion(asked, { claims: { aud: 'billing' } });
  await statusWith(registry, assertion);
  const log = registry.log.join('');
  t.match(log, /unexpected \\"aud\\" claim value/);
  t.notMatch(log, assertion.split('.')[1] ?? 'none');
  t.notMatch(log, targetDigest('/tools'));
});
