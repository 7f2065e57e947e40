import { createPublicKey, verify } from 'node:crypto';
import { jwtVerify } from 'jose';
import t from 'tap';
import { type Asserted, Assertions } from '../../src/credentials/assertions.ts';
import { anonymous } from '../../src/exchange.ts';
import { targetDigest } from '../support/assertion-signer.ts';
import { principalOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testKey } from '../support/issuer.ts';

function begin() {
  const { privateKey, publicKey } = testKey('EdDSA');
  const clock = new FakeClock();
  const key = { id: 'key-1', privateKey };
  let count = 0;
  const signingKey = () => {
    count += 1;
    return key;
  };
  const assertions = new Assertions({ issuer: 'portcullis', signingKey, clock });
  return { assertions, clock, publicKey, signatures: () => count };
}

const asserted: Asserted = {
  upstream: 'registry',
  method: 'GET',
  target: '/tools?q=a%20b',
  principal: principalOf({ permissions: new Set(['read', 'create']) }),
};
const partOf = (text: string, index: number) =>
  JSON.parse(Buffer.from(text.split('.')[index] ?? '', 'base64url').toString());

t.test('it says who asks for what, for whom, and until when', async (t) => {
  const { assertions, clock } = begin();
  const text = assertions.of(asserted);
  t.strictSame(partOf(text, 0), { alg: 'EdDSA', typ: 'portcullis-assertion+jwt', kid: 'key-1' });
  t.strictSame(partOf(text, 1), {
    iss: 'portcullis',
    aud: 'registry',
    sub: 'key:4fXabcdefghi',
    iat: clock.nowMs / 1000,
    exp: clock.nowMs / 1000 + 30,
    method: 'GET',
    target_sha256: targetDigest('/tools?q=a%20b'),
    auth_type: 'ApiKey',
    scope: 'read create',
    key_id: '4fXabcdefghi',
  });
});

t.test('its signature is one of the key, and a library agrees', async (t) => {
  const { assertions, publicKey, clock } = begin();
  const text = assertions.of(asserted);
  const [head = '', payload = '', signature = ''] = text.split('.');
  const bytes = Buffer.from(`${head}.${payload}`);
  t.ok(verify(null, bytes, publicKey, Buffer.from(signature, 'base64url')));
  const options = {
    issuer: 'portcullis',
    audience: 'registry',
    typ: 'portcullis-assertion+jwt',
    currentDate: new Date(clock.nowMs),
  };
  t.match(
    await jwtVerify(text, createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })), options),
    {
      payload: { sub: 'key:4fXabcdefghi' },
    },
  );
});

t.test('it lives thirty seconds at most, whatever fraction of a second it is', async (t) => {
  const { assertions, clock } = begin();
  clock.nowMs += 999;
  t.ok(partOf(assertions.of(asserted), 1).exp * 1000 - clock.nowMs <= 30_000);
});

t.test('the same request has the same one for ten seconds and no longer', async (t) => {
  const { assertions, clock } = begin();
  const first = assertions.of(asserted);
  clock.nowMs += 9_999;
  t.equal(assertions.of({ ...asserted }), first);
  clock.nowMs += 1;
  t.not(assertions.of(asserted), first);
});

t.test('a clock that is set back makes no old one young', async (t) => {
  const { assertions, clock } = begin();
  const first = assertions.of(asserted);
  clock.nowMs -= 5_000;
  t.not(assertions.of(asserted), first);
});

for (const [what, change] of Object.entries({
  upstream: { upstream: 'other' },
  method: { method: 'HEAD' },
  query: { target: '/tools?q=a%20c' },
  'an escape that means the same': { target: '/tools?q=a+b' },
  subject: { principal: principalOf({ subject: 'key:other', permissions: new Set(['read', 'create']) }) },
  permissions: { principal: principalOf({ permissions: new Set(['read']) }) },
  'key id': { principal: principalOf({ keyId: 'other', permissions: new Set(['read', 'create']) }) },
  'type of credential': {
    principal: principalOf({ authType: 'Bearer', permissions: new Set(['read', 'create']) }),
  },
  nobody: { principal: anonymous },
}))
  t.test(`another ${what} has another one`, async (t) => {
    const { assertions } = begin();
    const first = assertions.of(asserted);
    const other = assertions.of({ ...asserted, ...change });
    t.not(other, first);
    t.notSame(partOf(other, 1), partOf(first, 1));
    t.equal(assertions.of(asserted), first, 'and each keeps its own');
  });

t.test('the longest target makes it no longer', async (t) => {
  const { assertions } = begin();
  const long = assertions.of({ ...asserted, target: `/tools?q=${'x'.repeat(8_000)}` });
  t.equal(long.length, assertions.of(asserted).length);
});

t.test('a flood of targets is bounded in memory: what was kept first is signed again', async (t) => {
  const { assertions, signatures } = begin();
  const first = assertions.of(asserted);
  assertions.of(asserted);
  t.equal(signatures(), 1);
  for (let index = 0; index < 2_500; index += 1)
    assertions.of({ ...asserted, target: `/tools?${index}=${'x'.repeat(8_000)}` });
  t.equal(assertions.of(asserted), first, 'and is the same, for Ed25519 rolls no dice');
  t.equal(signatures(), 2_502);
});

t.test('without a key the request is refused, not sent unsigned', async (t) => {
  const assertions = new Assertions({
    issuer: 'portcullis',
    signingKey: () => undefined,
    clock: new FakeClock(),
  });
  t.throws(() => assertions.of(asserted), { code: 'store_unavailable' });
});
