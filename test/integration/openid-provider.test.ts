/** Tokens of a real OpenID provider at a whole gateway before the real registry. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { testKey } from '../support/issuer.ts';
import { defaultKeys, type OpenIdProvider, startOpenIdProvider } from '../support/openid-provider.ts';
import { startTestRegistry } from '../support/registry.ts';

const issuers = (issuer: string) => `  issuers:
    - name: corp
      issuer: ${issuer}
      audience: tool-registry
      discovery: true
      permissions:
        claims:
          - { claim: scope, values: { "tools:read": read, "tools:write": [create, update] } }
          - { claim: ["https://corp.example/roles"], values: { platform-admins: admin } }
`;

const yamlWith = (issuer: string) =>
  readFileSync('gateway.yaml', 'utf8').replace('  issuers: []\n', () => issuers(issuer));

type Tap = Pick<typeof t, 'teardown' | 'testdir'>;

async function start(t: Tap, issuer: string): Promise<TestGateway> {
  const directory = t.testdir();
  const registry = await startTestRegistry(directory);
  t.teardown(() => registry.close());
  const gateway = await startTestGateway({ directory, registry, yaml: yamlWith(issuer) });
  t.teardown(() => gateway.close());
  return gateway;
}

async function provide(t: Tap, ...options: Parameters<typeof startOpenIdProvider>): Promise<OpenIdProvider> {
  const provider = await startOpenIdProvider(...options);
  t.teardown(() => provider.close());
  return provider;
}

const call = (gateway: TestGateway, token: string, path = '/tools', init: RequestInit = {}) =>
  fetch(gateway.trafficUrl + path, { ...init, headers: { authorization: `Bearer ${token}` } });

const metricsOf = async ({ operationsUrl }: TestGateway) => (await fetch(`${operationsUrl}/metrics`)).text();

t.test('tokens by RSA, P-256 and Ed25519 are taken, with what their scope allows', async (t) => {
  const provider = await provide(t);
  const gateway = await start(t, provider.issuer);
  for (const alg of ['RS256', 'ES256', 'EdDSA']) {
    const reader = await provider.token('robot', `urn:tool-registry:${alg}`, 'tools:read');
    t.equal((await call(gateway, reader)).status, 200, alg);
    t.equal(
      (await call(gateway, reader, '/tools', { method: 'POST' })).status,
      403,
      `${alg}, may not create`,
    );
    t.equal((await call(gateway, reader, '/admin/users')).status, 403);
  }
  const writer = await provider.token('robot', 'urn:tool-registry:RS256', 'tools:write');
  t.equal((await call(gateway, writer)).status, 403, 'writing is not reading');
  t.equal(
    (await call(gateway, writer, '/tools', { method: 'POST' })).status,
    415,
    'may create, and sent nothing',
  );
});

t.test('a claim makes an admin; the log names issuer, subject and jti', async (t) => {
  const provider = await provide(t);
  const gateway = await start(t, provider.issuer);
  const token = await provider.token('platform-team', 'urn:tool-registry:ES256', '');
  t.equal((await call(gateway, token, '/admin/users')).status, 200);
  const me = await (await call(gateway, token, '/auth/me')).json();
  t.same(me, {
    kind: 'external',
    subject: 'corp:platform-team',
    permissions: ['create', 'read', 'update', 'delete', 'admin'],
  });
  t.equal(
    (await call(gateway, token, '/auth/logout', { method: 'POST' })).status,
    204,
    'no session to end here',
  );
  const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
  const record = (await gateway.audit()).find(
    ({ path, stage }) => path === '/admin/users' && stage === 'complete',
  );
  t.match(record, {
    principal: 'corp:platform-team',
    credential_id: jti,
    auth_type: 'Bearer',
    status_code: 200,
  });
});

t.test('another audience, an opaque token and a changed one are 401, alike but for the metric', async (t) => {
  const provider = await provide(t);
  const gateway = await start(t, provider.issuer);
  const other = await provider.token('robot', 'urn:other-service:RS256', 'tools:read');
  const opaque = await provider.token('robot', 'urn:tool-registry:opaque', 'tools:read');
  const good = await provider.token('robot', 'urn:tool-registry:RS256', 'tools:read');
  const changed = good.replace(/\.(.)/, (_, first) => `.${first === 'e' ? 'f' : 'e'}`);
  const bodies = new Set<string>();
  for (const token of [other, opaque, changed]) {
    const response = await call(gateway, token);
    t.equal(response.status, 401);
    t.match(response.headers.get('www-authenticate'), /error="invalid_token"/);
    bodies.add((await response.text()).replace(/"request_id":"[^"]+"/, ''));
  }
  t.equal(bodies.size, 1, 'the same body');
  const metrics = await metricsOf(gateway);
  t.match(metrics, /portcullis_auth_failures_total\{credential="Bearer",reason="wrong_audience"\} 1/);
  t.match(metrics, /portcullis_issuer_keys\{issuer="corp"\} 3/);
  t.match(metrics, /portcullis_issuer_key_fetches_total\{issuer="corp",result="ok"\} 1/);
  t.match(metrics, /portcullis_issuer_keys_last_success_timestamp_seconds\{issuer="corp"\} 1\d{9}/);
});

t.test('our own tokens and keys go on beside the issuer’s', async (t) => {
  const provider = await provide(t);
  const gateway = await start(t, provider.issuer);
  t.equal((await call(gateway, gateway.first.key.key)).status, 200);
  t.equal((await gateway.admin('GET', '/admin/users')).status, 200);
});

t.test('no request asks the provider, and tokens go on while it is away', async (t) => {
  const provider = await provide(t);
  const gateway = await start(t, provider.issuer);
  const token = await provider.token('robot', 'urn:tool-registry:RS256', 'tools:read');
  const asked = () => provider.paths.filter((path) => path !== '/token');
  t.same(asked(), ['/.well-known/openid-configuration', '/jwks']);
  for (let times = 0; times < 20; times++) t.equal((await call(gateway, token)).status, 200);
  t.equal(asked().length, 2);
  await provider.close();
  t.equal((await call(gateway, token)).status, 200, 'the last good set is kept');
});

t.test('the provider rotates: the first token by the new key is taken', async (t) => {
  const [first, ...rest] = defaultKeys();
  const provider = await startOpenIdProvider();
  const { issuer } = provider;
  const gateway = await start(t, issuer);
  await provider.close();
  const next = testKey('RS256', 'next');
  const rotated = await provide(t, { port: Number(new URL(issuer).port), keys: [next, ...rest] });
  t.equal(rotated.issuer, issuer);
  const token = await rotated.token('robot', 'urn:tool-registry:RS256', 'tools:read');
  t.equal((await call(gateway, token)).status, 200);
  t.equal(first?.kid, 'RS256-1');
});

t.test('a provider that is away at the start: refused with its reason, then taken by itself', async (t) => {
  const provider = await startOpenIdProvider();
  const { issuer } = provider;
  const token = await provider.token('robot', 'urn:tool-registry:RS256', 'tools:read');
  await provider.close();
  const gateway = await start(t, issuer);
  t.equal((await call(gateway, token)).status, 401);
  t.equal((await call(gateway, gateway.first.key.key)).status, 200, 'others are served');
  const metrics = await metricsOf(gateway);
  t.match(metrics, /auth_failures_total\{credential="Bearer",reason="issuer_unavailable"\} 1/);
  t.match(metrics, /issuer_key_fetches_total\{issuer="corp",result="unreachable"\} [1-9]/);
  t.match(metrics, /issuer_keys\{issuer="corp"\} 0/);
  const back = await provide(t, { port: Number(new URL(issuer).port) });
  const fresh = await back.token('robot', 'urn:tool-registry:RS256', 'tools:read');
  let status = 401;
  // The back-off is at 1 to 4 s by now.
  for (let tries = 0; tries < 100 && status !== 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    ({ status } = await call(gateway, fresh));
  }
  t.equal(status, 200);
});
