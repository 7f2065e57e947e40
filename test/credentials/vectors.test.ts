/** The examples of the standards verify with what verifies our tokens; what does not is a deviation, and named. */
import t from 'tap';
import { readCompactJwt, requireCompactForm } from '../../src/credentials/compact-jwt.ts';
import { isSigned, type Key } from '../../src/credentials/jws.ts';
import { parseKeySet } from '../../src/credentials/key-set.ts';
import { thumbprint } from '../../src/credentials/public-key.ts';
import { Refusal } from '../../src/errors.ts';
import { detached, thumbprints, unsecured, type Vector, vectors } from './vectors.ts';

/** As the product imports them: secrets as HMAC keys, all others through a JWK Set. */
async function importKey({ alg, jwk }: Vector): Promise<Key> {
  if (alg === 'HS256') {
    const use = { name: 'HMAC', hash: 'SHA-256' };
    return crypto.subtle.importKey('raw', Buffer.from(jwk.k ?? '', 'base64url'), use, false, ['verify']);
  }
  const [key] = parseKeySet(JSON.stringify({ keys: [jwk] })).keys;
  if (key === undefined || !key.algorithms.includes(alg)) throw new Error(`no key for ${alg}`);
  return key.key;
}

for (const vector of vectors) {
  t.test(`${vector.name} verifies`, async (t) => {
    const key = await importKey(vector);
    const [head, payload, signature] = requireCompactForm(vector.compact);
    t.equal(await isSigned(vector.compact, key, vector.alg), true);
    const changed = `${head}.${payload.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))}.${signature}`;
    t.equal(await isSigned(changed, key, vector.alg), false, 'another payload does not');
    const other = vectors.find(({ alg, compact }) => alg === vector.alg && compact !== vector.compact);
    if (other !== undefined) t.equal(await isSigned(other.compact, key, vector.alg), false, 'nor another’s');
  });
}

const reasonOf = (read: () => unknown): string | undefined => {
  try {
    read();
  } catch (error) {
    if (error instanceof Refusal) return error.reason;
    throw error;
  }
  return undefined;
};

t.test('deviation: RFC 7515 A.5 and RFC 7519 §6.1, which are unsecured, verify with no key', async (t) => {
  t.equal(
    readCompactJwt(unsecured).signature.length,
    0,
    'read, and refused for its algorithm by whoever verifies',
  );
  for (const vector of vectors) {
    t.equal(await isSigned(unsecured, await importKey(vector), vector.alg), false, vector.name);
  }
});

t.test('deviation: RFC 7520 §4.5, whose payload is detached, is malformed', async (t) => {
  t.equal(
    reasonOf(() => requireCompactForm(detached)),
    'malformed',
  );
});

t.test('deviation: RFC 7515 A.6 and A.7, RFC 7520 §4.6 to §4.8, in JSON, are malformed', async (t) => {
  const [{ compact = '' } = {}] = vectors;
  const [head, payload, signature] = compact.split('.');
  const flattened = JSON.stringify({ payload, protected: head, signature });
  const general = JSON.stringify({ payload, signatures: [{ protected: head, signature }] });
  for (const text of [flattened, general])
    t.equal(
      reasonOf(() => requireCompactForm(text)),
      'malformed',
    );
});

t.test('deviation: a payload that is no object of claims, as the cookbook’s, is no token', async (t) => {
  const cookbook = vectors.filter(({ name }) => /7520|8037|A\.4/.test(name));
  t.equal(cookbook.length, 6);
  for (const { compact, name } of cookbook)
    t.equal(
      reasonOf(() => readCompactJwt(compact)),
      'malformed',
      name,
    );
});

t.test(
  'deviation: an encoding with a newline or padding is malformed, though decoders take it',
  async (t) => {
    const [{ compact = '' } = {}] = vectors;
    for (const text of [`${compact}=`, `${compact}\n`, compact.replace('.', '.\n')]) {
      t.equal(
        reasonOf(() => requireCompactForm(text)),
        'malformed',
      );
    }
  },
);

t.test('RFC 7638 §3.1 and RFC 8037 A.3: the thumbprints that become our kids', async (t) => {
  for (const { jwk, thumbprint: expected } of thumbprints) t.equal(thumbprint(jwk), expected);
});
