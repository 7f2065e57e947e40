/** Which issuer verifies a token, and how long a start waits for them. */
import { createServer, type Socket } from 'node:net';
import t from 'tap';
import { issuers as issuersSchema } from '../../src/config/issuer-schema.ts';
import type { CredentialVerifier } from '../../src/credentials/credential.ts';
import { openIssuers } from '../../src/credentials/issuers.ts';
import { never } from '../../src/credentials/verified.ts';
import { Refusal } from '../../src/errors.ts';
import { anonymous } from '../../src/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { keyEndpoint, keySet, signed, testKey } from '../support/issuer.ts';

const clock = new FakeClock();
const [keyOfA, keyOfB] = [testKey('ES256', 'k'), testKey('ES256', 'k')];
const claims = { aud: 'tools', sub: 'alice', exp: clock.nowMs / 1000 + 60 };
const header = { alg: 'ES256', kid: 'k' };
const config = (name: string, url: string) => ({
  name,
  issuer: `https://${name}.example`,
  audience: 'tools',
  jwks_uri: url,
  permissions: { grant: ['read'] },
});

/** What verifies our own; here it only says that it was asked. */
const ours: CredentialVerifier = {
  read: () => ({
    credentialId: 'ours',
    verify: async () => ({ principal: { ...anonymous, subject: 'ours' }, endsAt: never }),
  }),
};

async function open(t: Pick<typeof import('tap').t, 'teardown'>, ...given: object[]) {
  const [opened, missing] = await openIssuers({
    issuers: issuersSchema.parse(given),
    clock,
    onFetch: () => {},
  });
  t.teardown(() => opened.close());
  const verifier = opened.before(ours, 'mcp_');
  const subjectOf = async (text: string, authType: 'Bearer' | 'ApiKey' = 'Bearer') => {
    try {
      return (await verifier.read({ authType, text }).verify()).principal.subject;
    } catch (error) {
      if (error instanceof Refusal) return error.reason;
      throw error;
    }
  };
  return { verifier, subjectOf, missing };
}

t.test('iss picks the verifier, and one issuer’s key never signs for another', async (t) => {
  const [a, b] = [await keyEndpoint(keySet(keyOfA)), await keyEndpoint(keySet(keyOfB))];
  for (const endpoint of [a, b]) t.teardown(() => endpoint.close());
  const { subjectOf, missing } = await open(t, config('a', a.url), config('b', b.url));
  t.same(missing, []);
  t.equal(await subjectOf(signed(header, { ...claims, iss: 'https://a.example' }, keyOfA)), 'a:alice');
  t.equal(await subjectOf(signed(header, { ...claims, iss: 'https://b.example' }, keyOfB)), 'b:alice');
  t.equal(await subjectOf(signed(header, { ...claims, iss: 'https://a.example' }, keyOfB)), 'bad_signature');
  t.equal(await subjectOf(signed(header, { ...claims, iss: 'https://b.example' }, keyOfA)), 'bad_signature');
});

t.test('API keys, our own tokens and those of nobody known are left to ours', async (t) => {
  const a = await keyEndpoint(keySet(keyOfA));
  t.teardown(() => a.close());
  const { subjectOf, verifier } = await open(t, config('a', a.url));
  const good = signed(header, { ...claims, iss: 'https://a.example' }, keyOfA);
  t.equal(await subjectOf('mcp_key'), 'ours');
  t.equal(await subjectOf(good, 'ApiKey'), 'ours', 'a token in X-API-Key is no token');
  for (const iss of ['portcullis', 'https://c.example', undefined, 7, ['https://a.example'], { a: 1 }]) {
    t.equal(await subjectOf(signed(header, { ...claims, iss }, keyOfA)), 'ours', JSON.stringify(iss));
  }
  t.throws(
    () => verifier.read({ authType: 'Bearer', text: 'a.b' }),
    Refusal,
    'by its form alone, before any work',
  );
});

t.test('without issuers nothing stands before ours', async (t) => {
  const { verifier } = await open(t);
  t.equal(verifier, ours);
});

t.test('an issuer that never answers holds a start up for a while and no longer', async (t) => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const address = silent.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const a = await keyEndpoint(keySet(keyOfA));
  t.teardown(() => a.close());
  const startedMs = performance.now();
  const { subjectOf, missing } = await open(t, config('a', a.url), config('b', `http://127.0.0.1:${port}`));
  const tookMs = performance.now() - startedMs;
  t.ok(tookMs > 4_000 && tookMs < 20_000, `took ${Math.round(tookMs)} ms of the 5 s`);
  t.same(missing, ['b']);
  t.equal(await subjectOf(signed(header, { ...claims, iss: 'https://a.example' }, keyOfA)), 'a:alice');
  t.equal(
    await subjectOf(signed(header, { ...claims, iss: 'https://b.example' }, keyOfB)),
    'issuer_unavailable',
  );
});
