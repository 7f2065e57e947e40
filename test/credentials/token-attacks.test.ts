/** Attacks 21 to 28 on our own tokens where they are signed with a key file: Ed25519, P-256, RSA. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { WallMs } from '../../src/clock.ts';
import { thumbprint } from '../../src/credentials/public-key.ts';
import { fileKeys } from '../../src/credentials/token-keys.ts';
import { Tokens } from '../../src/credentials/tokens.ts';
import { Refusal } from '../../src/errors.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  hmacSigned,
  keyEndpoint,
  keySet,
  part,
  publicForms,
  signed,
  type TestKey,
  testKey,
} from '../support/issuer.ts';

const clock = new FakeClock();
const startMs = clock.nowMs;
const nowSeconds = startMs / 1000;
t.beforeEach(() => {
  clock.nowMs = startMs;
});

const claims = {
  iss: 'portcullis',
  aud: 'tool-registry',
  sub: 'user:abc',
  sid: 'session1',
  jti: 'token1',
  scope: 'read',
  iat: nowSeconds,
  exp: nowSeconds + 1_800,
};
const grant = () => ({
  subject: 'user:abc',
  sessionId: 'session1',
  scope: 'read',
  expiresAt: (clock.nowMs + 1_800_000) as WallMs,
});

type Tap = Pick<typeof t, 'testdir' | 'teardown'>;

/** Tokens of a gateway with the first key to sign, and the public halves of the others to verify. */
function open(t: Tap, key: TestKey, ...others: readonly TestKey[]): Tokens {
  const directory = t.testdir();
  const files = [key, ...others].map((one, index) => {
    const file = join(directory, `${index}.pem`);
    const isFirst = index === 0;
    const pem = isFirst
      ? one.privateKey.export({ type: 'pkcs8', format: 'pem' })
      : one.publicKey.export({ type: 'spki', format: 'pem' });
    writeFileSync(file, pem);
    return file;
  });
  const keys = fileKeys(files, () => {});
  t.teardown(() => keys.close());
  return new Tokens({ keys, issuer: 'portcullis', audience: 'tool-registry' }, clock);
}

async function reasonOf(tokens: Tokens, text: string): Promise<string | undefined> {
  try {
    await tokens.verifyAccess(text);
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== 'invalid_credential') throw error;
    t.equal(error.cause, undefined, 'no cause that could hold claims');
    return error.reason;
  }
  return undefined;
}

for (const alg of ['EdDSA', 'ES256', 'RS256'] as const) {
  const key = testKey(alg);
  const header = { alg, typ: 'at+jwt', kid: thumbprint(key.jwk) };

  t.test(`${alg}: the control`, async (t) => {
    const tokens = open(t, key);
    const expected = { subject: 'user:abc', sessionId: 'session1', id: 'token1' };
    t.match(await tokens.verifyAccess(signed(header, claims, key)), expected);
    const issued = await tokens.issueAccess(grant());
    t.equal((await tokens.verifyAccess(issued.text)).id, issued.id);
    t.same(JSON.parse(Buffer.from(issued.text.split('.')[0] ?? '', 'base64url').toString()), header);
  });

  t.test(`${alg}, attack 21: none in any spelling, no signature, an empty key, zeros`, async (t) => {
    const tokens = open(t, key);
    for (const none of ['none', 'None', 'nOnE', '', null]) {
      const text = `${part({ ...header, alg: none })}.${part(claims)}.`;
      t.equal(await reasonOf(tokens, text), 'wrong_algorithm', `alg ${none}`);
    }
    t.equal(await reasonOf(tokens, `${part(header)}.${part(claims)}.`), 'bad_signature');
    t.equal(await reasonOf(tokens, hmacSigned(header, claims, '')), 'bad_signature');
    const zeros = Buffer.alloc(64).toString('base64url');
    t.equal(await reasonOf(tokens, `${part(header)}.${part(claims)}.${zeros}`), 'bad_signature', 'zeros');
  });

  t.test(`${alg}, attack 22: HS256 made with our published key as PEM, DER, JWK or its bytes`, async (t) => {
    const tokens = open(t, key);
    for (const secret of publicForms(key)) {
      t.equal(
        await reasonOf(tokens, hmacSigned({ ...header, alg: 'HS256' }, claims, secret)),
        'wrong_algorithm',
      );
      t.equal(await reasonOf(tokens, hmacSigned(header, claims, secret)), 'bad_signature');
    }
    for (const other of ['HS256', 'HS512', 'ES384', 'PS256', 'RS512', 'Ed25519']) {
      t.equal(
        await reasonOf(tokens, signed({ ...header, alg: other }, claims, key)),
        'wrong_algorithm',
        other,
      );
    }
  });

  t.test(`${alg}, attack 22: another key of the list under this one’s algorithm`, async (t) => {
    const other = testKey(alg === 'RS256' ? 'ES256' : 'RS256');
    const tokens = open(t, key, other);
    const otherHeader = { ...header, alg: other.alg, kid: thumbprint(other.jwk) };
    t.equal(await reasonOf(tokens, signed(otherHeader, claims, other)), undefined, 'a public key verifies');
    t.equal(await reasonOf(tokens, signed({ ...otherHeader, alg }, claims, other)), 'wrong_algorithm');
    t.equal(
      await reasonOf(tokens, signed({ ...otherHeader, kid: header.kid }, claims, other)),
      'wrong_algorithm',
    );
  });

  t.test(`${alg}, attack 23: a kid that names a file, a statement, or nothing known`, async (t) => {
    const tokens = open(t, key);
    for (const kid of [
      '../../dev/null',
      '0.pem',
      "' OR 1=1 --",
      'x'.repeat(5_000),
      '__proto__',
      7,
      null,
      undefined,
    ]) {
      t.equal(await reasonOf(tokens, signed({ ...header, kid }, claims, key)), 'bad_signature', String(kid));
    }
  });

  t.test(`${alg}, attack 24: jku, x5u, jwk and x5c are refused unread`, async (t) => {
    const tokens = open(t, key);
    const stranger = testKey(alg, header.kid);
    const listener = await keyEndpoint(keySet(stranger));
    t.teardown(() => listener.close());
    for (const [name, value] of Object.entries({
      jku: listener.url,
      x5u: listener.url,
      jwk: stranger.jwk,
      x5c: [],
    })) {
      t.equal(
        await reasonOf(tokens, signed({ ...header, [name]: value }, claims, stranger)),
        'malformed',
        name,
      );
    }
    t.equal(listener.requests.length, 0, 'the listener was never asked');
  });

  t.test(`${alg}, attack 25: crit and b64`, async (t) => {
    const tokens = open(t, key);
    for (const extra of [{ crit: ['x'] }, { crit: [] }, { b64: false }, { crit: ['b64'], b64: false }]) {
      t.equal(await reasonOf(tokens, signed({ ...header, ...extra }, claims, key)), 'malformed');
    }
  });

  t.test(`${alg}, attack 26: exp missing, not a number, endless, past; iat and nbf ahead`, async (t) => {
    const tokens = open(t, key);
    const { exp: _exp, ...without } = claims;
    t.equal(await reasonOf(tokens, signed(header, without, key)), 'missing_claim');
    for (const exp of ['9999999999', null, true, nowSeconds + 0.5]) {
      t.equal(await reasonOf(tokens, signed(header, { ...claims, exp }, key)), 'malformed', `exp ${exp}`);
    }
    const endless = JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999');
    t.equal(await reasonOf(tokens, signed(header, endless, key)), 'malformed');
    t.equal(await reasonOf(tokens, signed(header, { ...claims, exp: nowSeconds }, key)), 'expired');
    for (const name of ['iat', 'nbf']) {
      const at = (seconds: number) => signed(header, { ...claims, [name]: nowSeconds + seconds }, key);
      t.equal(await reasonOf(tokens, at(30)), undefined, `${name} 30 s ahead`);
      t.equal(await reasonOf(tokens, at(31)), 'not_yet_valid', `${name} 31 s ahead`);
    }
  });

  t.test(`${alg}, attack 27: a refresh token as an access token; wrong aud, iss, typ`, async (t) => {
    const tokens = open(t, key);
    const refresh = await tokens.issueRefresh(grant(), 'refresh1');
    t.equal(await reasonOf(tokens, refresh.text), 'wrong_type');
    t.equal(await reasonOf(tokens, signed(header, { ...claims, aud: 'other' }, key)), 'wrong_audience');
    t.equal(await reasonOf(tokens, signed(header, { ...claims, iss: 'other' }, key)), 'wrong_issuer');
    for (const typ of ['JWT', 'AT+JWT', 'application/at+jwt', undefined]) {
      t.equal(await reasonOf(tokens, signed({ ...header, typ }, claims, key)), 'wrong_type', String(typ));
    }
  });

  t.test(`${alg}, attack 28: spelling, a flipped last character, a duplicate sub, depth, size`, async (t) => {
    const tokens = open(t, key);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const good = signed(header, claims, key);
    const flipped = good.slice(0, -1) + alphabet[alphabet.indexOf(good.at(-1) ?? '') ^ 1];
    for (const text of [flipped, ` ${good}`, `${good}\t`, `${good}=`]) {
      t.equal(await reasonOf(tokens, text), 'malformed');
    }
    const json = JSON.stringify(claims);
    t.equal(
      await reasonOf(tokens, signed(header, json.replace('{', '{"sub":"user:root",'), key)),
      'malformed',
    );
    const deep = (depth: number) => `{"x":${'['.repeat(depth)}${']'.repeat(depth)},${json.slice(1)}`;
    t.equal(await reasonOf(tokens, signed(header, deep(2_000), key)), 'malformed');
    t.equal(await reasonOf(tokens, signed(header, deep(20_000), key)), 'too_large');
  });
}
