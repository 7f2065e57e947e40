import { createHmac, generateKeyPairSync } from 'node:crypto';
import { SignJWT } from 'jose';
import t from 'tap';
import type { WallMs } from '../../src/clock.ts';
import { fingerprint, type Secrets } from '../../src/credentials/secrets.ts';
import { secretKeys } from '../../src/credentials/token-keys.ts';
import { Tokens } from '../../src/credentials/tokens.ts';
import { Refusal } from '../../src/errors.ts';

const secret = 'pVh2Qm8sXw4KzR7tLb9NcYd3FgJ6uEaB';
const newer = 'Zt5Rk1WnHq8LmXc4VbJ7yGs2DpF9eUaT';
const settings = { issuer: 'portcullis', audience: 'tool-registry' };
const openTokens = async (secrets: Secrets = [secret]) =>
  new Tokens({ ...settings, keys: await secretKeys(secrets) }, clock);

const start = 1_800_000_000_000;
const time = { nowMs: start };
const clock = { wallMs: () => time.nowMs as WallMs, monotonicMs: () => 0 as never };
const nowSeconds = start / 1000;
t.beforeEach(() => {
  time.nowMs = start;
});

const grant = (lifetimeMs = 1_800_000) => ({
  subject: 'user:abc',
  sessionId: 'session1',
  scope: 'read create',
  expiresAt: (time.nowMs + lifetimeMs) as WallMs,
});

const part = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const header = { alg: 'HS256', typ: 'at+jwt', kid: fingerprint(secret) };
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

/** A token made by hand, well signed whatever it says. */
const signed = (head: unknown, payload: unknown, key: string | Buffer = secret) => {
  const input = `${part(head)}.${part(payload)}`;
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
};

const reasonOf = async (work: Promise<unknown>): Promise<string | undefined> => {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== 'invalid_credential') throw error;
    t.equal(error.cause, undefined, 'no cause that could hold claims');
    return error.reason;
  }
  return undefined;
};

const refuses = async (t: Tap, text: string, reason: string, message = reason) => {
  const tokens = await openTokens();
  t.equal(await reasonOf(tokens.verifyAccess(text)), reason, message);
};
type Tap = Pick<typeof t, 'equal'>;

t.test('the control: a token made by hand, and one of our own, are accepted', async (t) => {
  const tokens = await openTokens();
  const { holds, ...told } = await tokens.verifyAccess(signed(header, claims));
  const expected = {
    subject: 'user:abc',
    sessionId: 'session1',
    id: 'token1',
    expiresAt: claims.exp * 1000,
  };
  t.same(told, expected);
  t.ok(holds());
  const issued = await tokens.issueAccess(grant());
  t.equal(issued.lifetimeSeconds, 1_800);
  t.match(await tokens.verifyAccess(issued.text), { ...expected, id: issued.id });
  const [head = '', payload = ''] = issued.text.split('.');
  t.same(JSON.parse(Buffer.from(head, 'base64url').toString()), header);
  t.same(
    Object.keys(JSON.parse(Buffer.from(payload, 'base64url').toString())).sort(),
    Object.keys(claims).sort(),
  );
});

t.test('what was verified by keys that were replaced since has to be verified again', async (t) => {
  const [before, after] = [await secretKeys([newer, secret]), await secretKeys([newer])];
  let current = before;
  const keys = { current: () => current.current(), close: () => {} };
  const tokens = new Tokens({ ...settings, keys }, clock);
  const { holds } = await tokens.verifyAccess(signed(header, claims));
  t.ok(holds());
  current = after;
  t.notOk(holds());
  t.equal(await reasonOf(tokens.verifyAccess(signed(header, claims))), 'bad_signature');
});

t.test('secrets rotate: the first signs, all verify, an unknown kid is refused', async (t) => {
  const [before, during, after] = [
    await openTokens([secret]),
    await openTokens([newer, secret]),
    await openTokens([newer]),
  ];
  const old = await before.issueAccess(grant());
  const fresh = await during.issueAccess(grant());
  t.equal(await reasonOf(during.verifyAccess(old.text)), undefined);
  t.equal(await reasonOf(after.verifyAccess(fresh.text)), undefined);
  t.equal(await reasonOf(after.verifyAccess(old.text)), 'bad_signature');
});

t.test('attack 21: none in any spelling, no signature, an empty key', async (t) => {
  for (const alg of ['none', 'None', 'nOnE', '', null]) {
    await refuses(t, `${part({ ...header, alg })}.${part(claims)}.`, 'wrong_algorithm', `alg ${alg}`);
    await refuses(t, signed({ ...header, alg }, claims), 'wrong_algorithm', `alg ${alg}, signed`);
  }
  await refuses(t, `${part(header)}.${part(claims)}.`, 'bad_signature');
  await refuses(t, signed(header, claims, ''), 'bad_signature');
});

t.test('attack 22: another algorithm, or HS256 made with a public key', async (t) => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  for (const key of [
    publicKey.export({ type: 'spki', format: 'pem' }),
    publicKey.export({ type: 'spki', format: 'der' }),
    JSON.stringify(publicKey.export({ format: 'jwk' })),
  ]) {
    await refuses(t, signed(header, claims, key), 'bad_signature');
  }
  const rs256 = await new SignJWT(claims).setProtectedHeader({ ...header, alg: 'RS256' }).sign(privateKey);
  await refuses(t, rs256, 'wrong_algorithm');
  for (const alg of ['HS384', 'HS512', 'hs256', 'ES256', 'EdDSA']) {
    await refuses(t, signed({ ...header, alg }, claims), 'wrong_algorithm', alg);
  }
});

t.test('attack 23: a kid that names a file, a statement, or nothing known', async (t) => {
  const kids = ['../../dev/null', "' OR 1=1 --", 'x'.repeat(5_000), '__proto__', 7, null, undefined];
  for (const kid of kids) await refuses(t, signed({ ...header, kid }, claims), 'bad_signature', String(kid));
  await refuses(t, signed({ ...header, kid: 'x'.repeat(10_240) }, claims), 'too_large');
});

t.test('attack 24: jku, x5u, jwk and x5c are refused unread', async (t) => {
  for (const name of ['jku', 'x5u', 'jwk', 'x5c', 'cty', 'zip', 'constructor']) {
    await refuses(t, signed({ ...header, [name]: 'http://127.0.0.1:1/' }, claims), 'malformed', name);
  }
});

t.test('attack 25: crit and b64', async (t) => {
  await refuses(t, signed({ ...header, crit: ['x'] }, claims), 'malformed');
  await refuses(t, signed({ ...header, crit: [] }, claims), 'malformed');
  await refuses(t, signed({ ...header, b64: false }, claims), 'malformed');
  await refuses(t, signed({ ...header, crit: ['b64'], b64: false }, claims), 'malformed');
});

t.test('attack 26: exp missing, not a number, endless, or past; iat and nbf ahead', async (t) => {
  const { exp: _exp, ...without } = claims;
  await refuses(t, signed(header, without), 'missing_claim');
  for (const exp of ['9999999999', null, [], true, nowSeconds + 0.5]) {
    await refuses(t, signed(header, { ...claims, exp }), 'malformed', `exp ${exp}`);
  }
  const endless = JSON.stringify(claims).replace(/"exp":\d+/, '"exp":1e999');
  await refuses(t, signed(header, endless), 'malformed', 'exp 1e999');
  for (const name of ['iat', 'nbf']) {
    const tokens = await openTokens();
    const at = (seconds: number) => signed(header, { ...claims, [name]: nowSeconds + seconds });
    t.equal(await reasonOf(tokens.verifyAccess(at(29))), undefined, `${name} 29 s ahead`);
    t.equal(await reasonOf(tokens.verifyAccess(at(30))), undefined, `${name} 30 s ahead`);
    await refuses(t, at(31), 'not_yet_valid', `${name} 31 s ahead`);
    await refuses(t, signed(header, { ...claims, [name]: 'soon' }), 'malformed');
  }
});

t.test('attack 26: our own tokens expire to the millisecond, without leeway', async (t) => {
  const tokens = await openTokens();
  const { text } = await tokens.issueAccess(grant(60_000));
  time.nowMs = start + 59_999;
  t.equal(await reasonOf(tokens.verifyAccess(text)), undefined);
  time.nowMs = start + 60_000;
  t.equal(await reasonOf(tokens.verifyAccess(text)), 'expired');
  time.nowMs = start + 600_000;
  t.equal(await reasonOf(tokens.verifyAccess(text)), 'expired');
});

t.test('attack 27: a refresh token is no access token, nor the other way round', async (t) => {
  const tokens = await openTokens();
  const access = await tokens.issueAccess(grant());
  const refresh = await tokens.issueRefresh(grant(), 'refresh1');
  t.equal((await tokens.verifyRefresh(refresh.text)).id, 'refresh1');
  t.equal(await reasonOf(tokens.verifyAccess(refresh.text)), 'wrong_type');
  t.equal(await reasonOf(tokens.verifyRefresh(access.text)), 'wrong_type');
  const relabelled = signed({ ...header, typ: 'rt+jwt' }, claims);
  t.equal(await reasonOf(tokens.verifyRefresh(relabelled)), 'wrong_audience', 'with the other typ as well');
});

t.test('attack 27: wrong aud, iss, typ, and claims that are missing or of another type', async (t) => {
  await refuses(t, signed(header, { ...claims, aud: 'other' }), 'wrong_audience');
  await refuses(t, signed(header, { ...claims, aud: ['tool-registry', 'other'] }), 'malformed');
  await refuses(t, signed(header, { ...claims, iss: 'other' }), 'wrong_issuer');
  for (const typ of ['JWT', 'AT+JWT', 'application/at+jwt', undefined]) {
    await refuses(t, signed({ ...header, typ }, claims), 'wrong_type', String(typ));
  }
  for (const name of ['iss', 'aud', 'sub', 'sid', 'jti', 'iat']) {
    await refuses(t, signed(header, { ...claims, [name]: undefined }), 'missing_claim', name);
  }
  for (const name of ['sub', 'sid', 'jti', 'scope']) {
    await refuses(t, signed(header, { ...claims, [name]: { a: 1 } }), 'malformed', name);
  }
});

t.test('attack 28: spaces, padding and other alphabets in the encoding', async (t) => {
  const good = signed(header, claims);
  const [head = '', payload = '', signature = ''] = good.split('.');
  for (const text of [
    ` ${good}`,
    `${good}\t`,
    `${good}=`,
    `${good}\n`,
    `${head}=.${payload}.${signature}`,
    `${head}. ${payload}.${signature}`,
    `${head}.${payload}.${signature}.`,
    `${head}.${payload}`,
    good.replaceAll('.', ','),
    '',
    '..',
  ]) {
    await refuses(t, text, 'malformed', JSON.stringify(text.slice(-10)));
  }
});

t.test('attack 28: a flipped unused bit in the last character of any part', async (t) => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const flip = (text: string) => text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1) ?? '') ^ 1];
  const good = signed(header, claims);
  const flipped = flip(good);
  const bytes = (text: string) => Buffer.from(text.split('.')[2] ?? '', 'base64url').toString('hex');
  t.equal(bytes(flipped), bytes(good), 'the same signature, spelled otherwise');
  await refuses(t, flipped, 'malformed');
  const [head = '', , signature = ''] = good.split('.');
  const spaced = part(`${JSON.stringify(claims)} `.padEnd(256));
  const input = `${head}.${flip(spaced)}`;
  await refuses(t, `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`, 'malformed');
  await refuses(t, `${head}.${part(claims)}.${signature.slice(0, -2)}`, 'malformed');
});

t.test('attack 28: duplicate claims, depth, size, and what is not an object', async (t) => {
  const json = JSON.stringify(claims);
  await refuses(t, signed(header, json.replace('{', '{"sub":"user:root",')), 'malformed', 'sub twice');
  await refuses(
    t,
    signed(JSON.stringify(header).replace('{', '{"alg":"none",'), json),
    'malformed',
    'alg twice',
  );
  const deep = (depth: number) => `{"x":${'['.repeat(depth)}${']'.repeat(depth)},${json.slice(1)}`;
  await refuses(t, signed(header, deep(2_000)), 'malformed', 'depth 2,000');
  await refuses(t, signed(header, deep(20_000)), 'too_large', 'depth 20,000');
  await refuses(t, signed(header, { ...claims, x: 'x'.repeat(8_192) }), 'too_large');
  for (const payload of ['[]', 'null', '"text"', '{', '\ufeff{}']) {
    await refuses(t, signed(header, payload), 'malformed', payload);
  }
  const badUtf8 = `${part(header)}.${Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')}`;
  await refuses(t, `${badUtf8}.${part('x'.repeat(32))}`, 'malformed', 'not UTF-8');
});

t.test('a token of another machine with the same claims but another secret', async (t) => {
  await refuses(t, signed(header, claims, newer), 'bad_signature');
});
