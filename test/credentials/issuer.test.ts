/** Attacks 21 to 28 on the tokens of external issuers, and the controls that are taken. */
import fc from 'fast-check';
import t from 'tap';
import { readCompactJwt } from '../../src/credentials/compact-jwt.ts';
import { Issuer, type IssuerSettings } from '../../src/credentials/issuer.ts';
import { IssuerKeys } from '../../src/credentials/issuer-keys.ts';
import { Refusal } from '../../src/errors.ts';
import type { Principal } from '../../src/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { hmacSigned, keyEndpoint, keySet, part, publicForms, signed, testKey } from '../support/issuer.ts';

const rsa = testKey('RS256');
const ec = testKey('ES256');
const ed = testKey('EdDSA');
const all = [rsa, ec, ed];

const clock = new FakeClock();
const startMs = clock.nowMs;
const nowSeconds = startMs / 1000;
t.beforeEach(() => {
  clock.nowMs = startMs;
});

const settings: IssuerSettings = {
  name: 'corp',
  issuer: 'https://login.example.com',
  audiences: ['tool-registry', 'tools'],
  algorithms: ['RS256', 'ES256', 'EdDSA'],
  types: new Set(['absent', 'jwt', 'at+jwt']),
  leewayMs: 30_000,
  permissions: { grant: ['read'], claims: [] },
};

const claims = {
  iss: 'https://login.example.com',
  aud: 'tool-registry',
  sub: 'alice',
  jti: 'token-1',
  iat: nowSeconds,
  exp: nowSeconds + 600,
};
const headerOf = ({ alg, kid } = rsa) => ({ alg, typ: 'at+jwt', kid });
const header = headerOf();

async function open(changes: Partial<IssuerSettings> = {}, set = keySet(...all)): Promise<Issuer> {
  const later = () => ({ cancel: () => {} });
  const keys = new IssuerKeys({
    source: async () => set,
    refreshMs: 300_000,
    clock,
    later,
    onFetch: () => {},
  });
  await keys.refresh();
  return new Issuer({ ...settings, ...changes }, keys, clock);
}

async function verify(text: string, issuer?: Issuer): Promise<Principal> {
  const credential = { authType: 'Bearer', text } as const;
  return (await (issuer ?? (await open())).verify(credential, readCompactJwt(text))).principal;
}

async function reasonOf(text: string, issuer?: Issuer): Promise<string | undefined> {
  try {
    await verify(text, issuer);
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== 'invalid_credential') throw error;
    t.equal(error.cause, undefined, 'no cause that could hold claims');
    return error.reason;
  }
  return undefined;
}

t.test('the control: a token by each kind of key is taken', async (t) => {
  for (const key of all) {
    t.same(await verify(signed(headerOf(key), claims, key)), {
      kind: 'external',
      subject: 'corp:alice',
      authType: 'Bearer',
      permissions: new Set(['read']),
      tokenId: 'token-1',
    });
  }
});

t.test(
  'the control: no typ, typ in any case, no kid, a list of audiences, no iat, nbf, jti, a fraction',
  async (t) => {
    const { iat: _iat, jti: _jti, ...least } = claims;
    for (const typ of [undefined, 'JWT', 'jwt', 'AT+JWT', 'application/at+jwt']) {
      t.equal(await reasonOf(signed({ ...header, typ }, claims, rsa)), undefined, String(typ));
    }
    t.equal(await reasonOf(signed({ alg: 'RS256' }, least, rsa)), undefined);
    t.equal(await reasonOf(signed(header, { ...claims, aud: ['other', 'tools'] }, rsa)), undefined);
    t.equal(
      await reasonOf(signed(header, { ...claims, exp: nowSeconds + 0.5, iat: nowSeconds - 0.25 }, rsa)),
      undefined,
    );
    t.equal((await verify(signed({ alg: 'RS256' }, least, rsa))).tokenId, undefined);
  },
);

t.test('the control: Ed25519, the name of RFC 9864 for what EdDSA was', async (t) => {
  const issuer = await open({ algorithms: ['Ed25519'] });
  t.equal(await reasonOf(signed({ ...headerOf(ed), alg: 'Ed25519' }, claims, ed), issuer), undefined);
  t.equal(await reasonOf(signed(headerOf(ed), claims, ed), issuer), 'wrong_algorithm');
});

t.test('the control: x5t, cty and the like are read over', async (t) => {
  t.equal(
    await reasonOf(signed({ ...header, x5t: 'abc', 'x5t#S256': 'abc', nonce: 'n' }, claims, rsa)),
    undefined,
  );
});

t.test('attack 21: none in any spelling, no signature, an empty key', async (t) => {
  for (const alg of ['none', 'None', 'nOnE', 'NONE', '', null, undefined, 0, ['none'], { alg: 'none' }]) {
    const text = `${part({ ...header, alg })}.${part(claims)}.`;
    t.equal(await reasonOf(text), 'wrong_algorithm', `alg ${JSON.stringify(alg)}`);
    t.equal(await reasonOf(signed({ ...header, alg }, claims, rsa)), 'wrong_algorithm', `alg ${alg}, signed`);
  }
  t.equal(await reasonOf(`${part(header)}.${part(claims)}.`), 'bad_signature');
  t.equal(await reasonOf(hmacSigned(header, claims, '')), 'bad_signature', 'an HMAC under an empty key');
});

t.test('attack 21: an ECDSA signature of zeros (CVE-2022-21449)', async (t) => {
  const zeros = Buffer.alloc(64).toString('base64url');
  t.equal(await reasonOf(`${part(headerOf(ec))}.${part(claims)}.${zeros}`), 'bad_signature');
});

t.test('attack 22: HS256 made with a public key as PEM, DER, JWK or its bytes', async (t) => {
  for (const key of all) {
    for (const secret of publicForms(key)) {
      for (const alg of ['HS256', 'HS384', 'HS512']) {
        t.equal(await reasonOf(hmacSigned({ ...headerOf(key), alg }, claims, secret)), 'wrong_algorithm');
      }
      t.equal(
        await reasonOf(hmacSigned(headerOf(key), claims, secret)),
        'bad_signature',
        'labelled as asymmetric',
      );
    }
  }
});

t.test('attack 22: an algorithm that is not configured, or not the key’s', async (t) => {
  const strict = await open({ algorithms: ['ES256'] });
  t.equal(await reasonOf(signed(header, claims, rsa), strict), 'wrong_algorithm');
  t.equal(await reasonOf(signed(headerOf(ec), claims, ec), strict), undefined, 'the control');
  t.equal(await reasonOf(signed({ ...headerOf(rsa), alg: 'ES256' }, claims, rsa)), 'unknown_key');
  t.equal(await reasonOf(signed({ ...headerOf(ec), alg: 'RS256' }, claims, ec)), 'unknown_key');
  const bound = JSON.stringify({ keys: [{ ...rsa.jwk, alg: 'PS256' }] });
  t.equal(
    await reasonOf(signed(header, claims, rsa), await open({}, bound)),
    'unknown_key',
    'alg of the key',
  );
});

t.test('attack 23: a kid that names a file, a statement, or nothing known', async (t) => {
  const issuer = await open();
  for (const kid of ['../../dev/null', "' OR 1=1 --", 'x'.repeat(5_000), '__proto__', 'constructor', '']) {
    t.equal(await reasonOf(signed({ ...header, kid }, claims, rsa), issuer), 'unknown_key', kid.slice(0, 20));
  }
  for (const kid of [7, null, ['RS256-1'], { kid: 1 }]) {
    t.equal(
      await reasonOf(signed({ ...header, kid }, claims, rsa), issuer),
      'malformed',
      JSON.stringify(kid),
    );
  }
  t.equal(await reasonOf(signed({ ...header, kid: 'x'.repeat(10_240) }, claims, rsa), issuer), 'too_large');
});

t.test('attack 24: jku, x5u, jwk and x5c are never followed nor believed', async (t) => {
  const stranger = testKey('RS256', rsa.kid);
  const listener = await keyEndpoint(keySet(stranger));
  t.teardown(() => listener.close());
  const links = { jku: listener.url, x5u: `${listener.url}/cert.pem`, jwk: stranger.jwk, x5c: ['MIIB'] };
  for (const [name, value] of Object.entries(links)) {
    t.equal(await reasonOf(signed({ ...header, [name]: value }, claims, stranger)), 'bad_signature', name);
    t.equal(
      await reasonOf(signed({ ...header, [name]: value }, claims, rsa)),
      undefined,
      `${name} is read over`,
    );
  }
  t.equal(await reasonOf(signed({ ...header, ...links, kid: 'new' }, claims, stranger)), 'unknown_key');
  t.equal(listener.requests.length, 0, 'the listener was never asked');
});

t.test('attack 25: crit and b64', async (t) => {
  for (const extra of [
    { crit: ['x'], x: 1 },
    { crit: [] },
    { crit: null },
    { crit: ['exp'] },
    { b64: false },
    { b64: true },
    { crit: ['b64'], b64: false },
  ]) {
    t.equal(await reasonOf(signed({ ...header, ...extra }, claims, rsa)), 'malformed', JSON.stringify(extra));
  }
});

t.test('attack 26: exp missing, not a number, endless; nbf and iat of another type', async (t) => {
  const { exp: _exp, ...without } = claims;
  t.equal(await reasonOf(signed(header, without, rsa)), 'missing_claim');
  for (const exp of ['9999999999', null, [], {}, true, 1e15]) {
    t.equal(
      await reasonOf(signed(header, { ...claims, exp }, rsa)),
      'malformed',
      `exp ${JSON.stringify(exp)}`,
    );
  }
  const endless = (name: string) =>
    JSON.stringify({ ...claims, nbf: 0 }).replace(new RegExp(`"${name}":\\d+`), `"${name}":1e999`);
  for (const name of ['exp', 'nbf', 'iat']) {
    t.equal(await reasonOf(signed(header, endless(name), rsa)), 'malformed', `${name} 1e999`);
  }
  for (const name of ['nbf', 'iat']) {
    t.equal(await reasonOf(signed(header, { ...claims, [name]: 'soon' }, rsa)), 'malformed', name);
    t.equal(await reasonOf(signed(header, { ...claims, [name]: null }, rsa)), 'malformed', name);
  }
});

t.test('attack 26: exp, nbf and iat within the leeway and one second past it', async (t) => {
  for (const leewaySeconds of [0, 10, 30]) {
    const issuer = await open({ leewayMs: leewaySeconds * 1000 });
    const at = (name: string, seconds: number) =>
      signed(header, { ...claims, [name]: nowSeconds + seconds }, rsa);
    t.equal(await reasonOf(at('exp', 1 - leewaySeconds), issuer), undefined, `exp, leeway ${leewaySeconds}`);
    t.equal(await reasonOf(at('exp', -leewaySeconds), issuer), 'expired');
    t.equal(await reasonOf(at('exp', -leewaySeconds - 1), issuer), 'expired');
    for (const name of ['nbf', 'iat']) {
      t.equal(await reasonOf(at(name, leewaySeconds), issuer), undefined, `${name}, leeway ${leewaySeconds}`);
      t.equal(await reasonOf(at(name, leewaySeconds + 1), issuer), 'not_yet_valid');
    }
  }
});

t.test('attack 26: a token expires while the gateway runs', async (t) => {
  const issuer = await open();
  const text = signed(header, claims, rsa);
  clock.nowMs = startMs + 629_999;
  t.equal(await reasonOf(text, issuer), undefined);
  clock.nowMs = startMs + 630_000;
  t.equal(await reasonOf(text, issuer), 'expired');
});

t.test('attack 27: wrong aud, iss, typ, and claims that are missing or of another type', async (t) => {
  for (const aud of ['other', 'tool-registry ', 'TOOL-REGISTRY', '', [], ['other']]) {
    t.equal(await reasonOf(signed(header, { ...claims, aud }, rsa)), 'wrong_audience', JSON.stringify(aud));
  }
  for (const aud of [null, 7, { 0: 'tools' }, ['tools', 7], [['tools']]]) {
    t.equal(await reasonOf(signed(header, { ...claims, aud }, rsa)), 'malformed', JSON.stringify(aud));
  }
  for (const iss of ['https://login.example.com/', 'https://LOGIN.example.com', 'other', null, ['x']]) {
    t.equal(await reasonOf(signed(header, { ...claims, iss }, rsa)), 'wrong_issuer', JSON.stringify(iss));
  }
  for (const typ of [
    'rt+jwt',
    'refresh',
    'logout+jwt',
    'dpop+jwt',
    'a/b/at+jwt',
    'absent',
    'Absent',
    'application/absent',
    '',
    null,
    7,
  ]) {
    t.equal(await reasonOf(signed({ ...header, typ }, claims, rsa)), 'wrong_type', JSON.stringify(typ));
  }
  for (const name of ['iss', 'aud', 'sub', 'exp']) {
    t.equal(await reasonOf(signed(header, { ...claims, [name]: undefined }, rsa)), 'missing_claim', name);
  }
});

t.test('attack 27: typ is what the issuer’s entry says and nothing else', async (t) => {
  const strict = await open({ types: new Set(['at+jwt']) });
  t.equal(await reasonOf(signed(header, claims, rsa), strict), undefined);
  t.equal(await reasonOf(signed({ ...header, typ: 'JWT' }, claims, rsa), strict), 'wrong_type');
  t.equal(await reasonOf(signed({ ...header, typ: undefined }, claims, rsa), strict), 'wrong_type');
});

t.test('attack 27: a sub that could be another’s, or stand in no header', async (t) => {
  const odd = ['', 7, null, ['alice'], 'a\nb', 'a\u0000', 'a\u009bm', 'x'.repeat(256), '\ud800'];
  for (const sub of odd) {
    t.equal(
      await reasonOf(signed(header, { ...claims, sub }, rsa)),
      'malformed',
      JSON.stringify(sub).slice(0, 20),
    );
  }
  for (const sub of ['user:1', 'key:1', 'corp:alice', 'a b', 'Ünï', 'x'.repeat(255)]) {
    t.equal((await verify(signed(header, { ...claims, sub }, rsa))).subject, `corp:${sub}`);
  }
});

t.test('a jti that is long or odd is hashed before it is written down', async (t) => {
  const idOf = async (jti: unknown) => (await verify(signed(header, { ...claims, jti }, rsa))).tokenId;
  t.equal(await idOf('x'.repeat(64)), 'x'.repeat(64));
  for (const jti of ['x'.repeat(65), 'a b', 'a\nb', '', 'ü']) t.match(await idOf(jti), /^sha256:[\w-]{43}$/);
  t.equal(await reasonOf(signed(header, { ...claims, jti: 7 }, rsa)), 'malformed');
});

t.test('attack 28: a flipped unused bit, a duplicate sub, depth and size', async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const refused = async (text: string, reason: string, message: string) =>
    t.equal(await reasonOf(text), reason, message);
  for (const key of all) {
    const good = signed(headerOf(key), claims, key);
    const flipped = good.slice(0, -1) + alphabet[alphabet.indexOf(good.at(-1) ?? '') ^ 1];
    await refused(flipped, 'malformed', `${key.alg}, last character flipped`);
    for (const text of [`${good}=`, ` ${good}`, `${good}\t`, good.replace('.', ' .')])
      await refused(text, 'malformed', 'spelling');
  }
  const json = JSON.stringify(claims);
  await refused(signed(header, json.replace('{', '{"sub":"root",'), rsa), 'malformed', 'sub twice');
  await refused(
    signed(header, json.replace('{', '{"s\\u0075b":"root",'), rsa),
    'malformed',
    'sub twice, once escaped',
  );
  await refused(
    signed(JSON.stringify(header).replace('{', '{"kid":"x",'), json, rsa),
    'malformed',
    'kid twice',
  );
  const deep = (depth: number) => `{"x":${'['.repeat(depth)}${']'.repeat(depth)},${json.slice(1)}`;
  await refused(signed(header, deep(2_000), rsa), 'malformed', 'depth 2,000');
  await refused(signed(header, deep(20_000), rsa), 'too_large', 'depth 20,000');
  await refused(signed(header, { ...claims, x: 'x'.repeat(8_192) }, rsa), 'too_large', 'over 8 KB');
});

t.test('kids that collide: of two kinds, or of one kind', async (t) => {
  const twin = testKey('RS256', 'same');
  const set = JSON.stringify({
    keys: [{ ...rsa.jwk, kid: 'same' }, { ...ec.jwk, kid: 'same' }, twin.jwk],
  });
  const issuer = await open({}, set);
  for (const key of [rsa, ec, twin]) {
    t.equal(
      await reasonOf(signed({ ...headerOf(key), kid: 'same' }, claims, key), issuer),
      undefined,
      key.alg,
    );
  }
  t.equal(
    await reasonOf(signed({ ...header, kid: 'same' }, claims, testKey('RS256')), issuer),
    'bad_signature',
  );
});

t.test('a token without kid is tried with few keys', async (t) => {
  const keys = Array.from({ length: 6 }, (_, index) => testKey('ES256', `k${index}`));
  const issuer = await open({}, keySet(...keys));
  const [first, , , fourth, fifth] = keys;
  const bare = { alg: 'ES256' };
  for (const key of [first, fourth])
    if (key) t.equal(await reasonOf(signed(bare, claims, key), issuer), undefined);
  if (fifth) t.equal(await reasonOf(signed(bare, claims, fifth), issuer), 'bad_signature');
});

t.test(
  'property: whatever is changed in a token, it is refused as a credential, never with an error',
  async (t) => {
    const issuer = await open();
    const good = signed(headerOf(ec), claims, ec);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 0x21, max: 0x7e }), async (at, code) => {
        const changed = good.slice(0, at) + String.fromCharCode(code) + good.slice(at + 1);
        if (changed === good) return;
        await t.rejects(
          (async () => verify(changed, issuer))(),
          { code: 'invalid_credential' },
          { skip: false },
        );
      }),
      { numRuns: 300 },
    );
  },
);

t.test('property: any JSON as header or payload is refused or taken, never with an error', async (t) => {
  const issuer = await open();
  const value = fc.jsonValue({ maxDepth: 3 });
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(fc.constantFrom('alg', 'typ', 'kid', 'crit', 'b64', 'jku'), value),
      fc.dictionary(fc.constantFrom('iss', 'aud', 'sub', 'exp', 'nbf', 'iat', 'jti'), value),
      async (head, body) => {
        const reason = await reasonOf(
          signed({ ...headerOf(ec), ...head }, { ...claims, ...body }, ec),
          issuer,
        );
        return reason === undefined || /^[a-z_]+$/.test(reason);
      },
    ),
    { numRuns: 300 },
  );
  t.pass('none threw');
});

/** What is remembered of a token, and the keys behind it. */
async function remembered(leewayMs: number) {
  const source = { set: keySet(...all) };
  const keys = new IssuerKeys({
    source: async () => source.set,
    refreshMs: 300_000,
    clock,
    later: () => ({ cancel: () => {} }),
    onFetch: () => {},
  });
  await keys.refresh();
  const issuer = new Issuer({ ...settings, leewayMs }, keys, clock);
  const text = signed(header, claims, rsa);
  const verified = await issuer.verify({ authType: 'Bearer', text }, readCompactJwt(text));
  return { source, keys, verified, text, issuer };
}

t.test('a remembered token ends with its exp, and the leeway', async (t) => {
  for (const leewayMs of [0, 30_000]) {
    const { verified, text, issuer } = await remembered(leewayMs);
    t.equal(verified.endsAt, claims.exp * 1000 + leewayMs);
    clock.nowMs = verified.endsAt - 1;
    t.equal(await reasonOf(text, issuer), undefined, 'as it is without memory');
    clock.nowMs = verified.endsAt;
    t.equal(await reasonOf(text, issuer), 'expired');
    clock.nowMs = startMs;
  }
});

t.test('a key that its issuer has withdrawn no longer stands for what it proved', async (t) => {
  const { source, keys, verified, text, issuer } = await remembered(0);
  t.equal(verified.holds?.(), true);
  source.set = 'no set at all';
  await keys.refresh();
  t.equal(verified.holds?.(), true, 'an outage changes nothing');
  source.set = keySet(ec, ed);
  await keys.refresh();
  t.equal(verified.holds?.(), false);
  t.equal(await reasonOf(text, issuer), 'unknown_key');
});
