import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { calculateJwkThumbprint } from 'jose';
import t from 'tap';
import type { WallMs } from '../../src/clock.ts';
import { KeyPemError, readKeyPem } from '../../src/credentials/key-pem.ts';
import { fileKeys, secretKeys, type TokenKeys } from '../../src/credentials/token-keys.ts';
import { Tokens } from '../../src/credentials/tokens.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testKey } from '../support/issuer.ts';

const clock = new FakeClock();

const pem = (kind: 'EdDSA' | 'ES256' | 'RS256' = 'EdDSA') => {
  const { privateKey, publicKey } = testKey(kind);
  return {
    private: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    public: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
};

const faultOf = (text: string): string | undefined => {
  try {
    readKeyPem(text);
  } catch (error) {
    if (error instanceof KeyPemError) return error.message;
    throw error;
  }
  return undefined;
};

t.test(
  'each kind of key has its algorithm, its thumbprint as kid, and nothing private in its JWK',
  async (t) => {
    const expected = {
      EdDSA: ['crv', 'kty', 'x'],
      ES256: ['crv', 'kty', 'x', 'y'],
      RS256: ['e', 'kty', 'n'],
    };
    for (const kind of ['EdDSA', 'ES256', 'RS256'] as const) {
      const text = pem(kind);
      const key = readKeyPem(text.private);
      t.equal(key.algorithm, kind);
      t.equal(key.id, await calculateJwkThumbprint(key.jwk ?? {}));
      t.match(key.jwk, { kid: key.id, alg: kind, use: 'sig' });
      t.same(Object.keys(key.jwk ?? {}).sort(), [...(expected[kind] ?? []), 'alg', 'kid', 'use'].sort());
      const half = readKeyPem(text.public);
      t.equal(half.id, key.id);
      t.equal(half.signWith, undefined, 'a public key only verifies');
    }
  },
);

t.test('keys made by the commands that the messages name', async (t) => {
  const directory = t.testdir();
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  openssl('genpkey', '-algorithm', 'ed25519', '-out', 'ed.pem');
  t.equal(readKeyPem(readFileSync(join(directory, 'ed.pem'), 'utf8')).algorithm, 'EdDSA');
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'old.pem');
  t.equal(faultOf(readFileSync(join(directory, 'old.pem'), 'utf8')), 'is SEC 1, not PKCS#8');
  openssl('pkcs8', '-topk8', '-nocrypt', '-in', 'old.pem', '-out', 'ec.pem');
  t.equal(readKeyPem(readFileSync(join(directory, 'ec.pem'), 'utf8')).algorithm, 'ES256');
});

t.test('bad PEM, weak RSA, a wrong curve: each is said', async (t) => {
  const rsa = (modulusLength: number, publicExponent = 65_537) =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent })
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString();
  const curve = (namedCurve: string) =>
    generateKeyPairSync('ec', { namedCurve }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const good = pem();
  t.equal(faultOf(good.private), undefined, 'the control');
  t.equal(faultOf(''), 'is not PEM');
  t.equal(faultOf('{"kty":"OKP"}'), 'is not PEM');
  t.equal(faultOf(good.private.replace(/^M.{10}/m, 'AAAAAAAAAAA')), 'is PEM whose content is damaged');
  t.equal(faultOf(`${good.private}${good.public}`), 'holds more than one key');
  t.equal(faultOf(good.private.replaceAll('PRIVATE KEY', 'CERTIFICATE')), 'is a certificate, not a key');
  t.equal(faultOf(good.private.replaceAll('PRIVATE KEY', 'THING')), 'is no PEM of a key');
  t.match(faultOf(good.private.replaceAll('PRIVATE KEY', 'ENCRYPTED PRIVATE KEY')), /^is encrypted/);
  t.equal(faultOf(rsa(1024)), 'is RSA of 1024 bits; 2048 are the least');
  t.equal(faultOf(rsa(2048, 3)), 'is RSA with an exponent below 65537');
  t.equal(faultOf(curve('P-384')), 'is on the curve secp384r1, which our tokens do not use; P-256 is');
  t.equal(faultOf(curve('secp256k1')), 'is on the curve secp256k1, which is not used here');
  const x25519 = generateKeyPairSync('x25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  t.equal(faultOf(x25519), 'is of a kind that is not used here (x25519)');
});

t.test('secrets are published nowhere', async (t) => {
  const keys = await secretKeys(['pVh2Qm8sXw4KzR7tLb9NcYd3FgJ6uEaB']);
  t.same(keys.current().jwks, []);
});

t.test('what cannot be read at all, or not sign, is told at the start', async (t) => {
  const { private: _, public: half } = pem();
  const directory = t.testdir({ 'public.pem': half, 'bad.pem': 'no' });
  const open = (name: string) => () => fileKeys([join(directory, name)], () => {});
  t.throws(open('public.pem'), { message: /only public: the first signs/ });
  t.throws(open('bad.pem'), { message: /bad\.pem is not PEM$/ });
  t.throws(open('absent.pem'), { message: /absent\.pem cannot be read \(ENOENT\)$/ });
});

const open = (t: Pick<typeof import('tap').t, 'teardown'>, files: readonly string[]) => {
  const told: Array<string | undefined> = [];
  const keys = fileKeys(files, (error) => told.push(error?.message));
  t.teardown(() => keys.close());
  return { keys, told, tokens: new Tokens({ keys, issuer: 'portcullis', audience: 'tools' }, clock) };
};

const grant = { subject: 'user:a', sessionId: 's', scope: '', expiresAt: (clock.nowMs + 60_000) as WallMs };

/** Well above the time a change takes to be seen (0.2 s), also where only the poll sees it (10 s). */
async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done(); tries++) {
    if (tries > 400) throw new Error('it was never seen');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const firstOf = (keys: TokenKeys) => keys.current().first.id;

t.test('a rotation as a mounted Secret does it refuses no token, of before or after', async (t) => {
  const [older, newer] = [pem('EdDSA'), pem('ES256')];
  const directory = t.testdir();
  // kubelet: the files are links through ..data, which is swapped by a rename.
  const version = (name: string, files: Record<string, string>) => {
    mkdirSync(join(directory, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, name, file), text);
    symlinkSync(name, join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  };
  version('..1', { 'first.pem': older.private, 'second.pem': newer.public });
  for (const file of ['first.pem', 'second.pem']) symlinkSync(join('..data', file), join(directory, file));
  const { keys, tokens, told } = open(
    t,
    ['first.pem', 'second.pem'].map((file) => join(directory, file)),
  );
  const before = await tokens.issueAccess(grant);
  const kidBefore = firstOf(keys);
  t.equal(keys.current().jwks.length, 2, 'the next key is published before it signs');
  version('..2', { 'first.pem': newer.private, 'second.pem': older.public });
  await until(() => firstOf(keys) !== kidBefore);
  const after = await tokens.issueAccess(grant);
  t.not(after.text.split('.')[0], before.text.split('.')[0], 'another key signs');
  t.equal((await tokens.verifyAccess(before.text)).id, before.id);
  t.equal((await tokens.verifyAccess(after.text)).id, after.id);
  t.same(told, [undefined], 'told once');
});

t.test('a file that is half-written or gone changes nothing until it is whole', async (t) => {
  const [one, two] = [pem(), pem()];
  const directory = t.testdir({ 'token.pem': one.private });
  const file = join(directory, 'token.pem');
  const { keys, told, tokens } = open(t, [file]);
  const issued = await tokens.issueAccess(grant);
  const kid = firstOf(keys);
  writeFileSync(file, two.private.slice(0, 60));
  await until(() => told.length === 1);
  t.match(told[0], /damaged|not PEM/);
  t.equal(firstOf(keys), kid);
  t.equal((await tokens.verifyAccess(issued.text)).id, issued.id);
  unlinkSync(file);
  await until(() => told.length === 2);
  t.match(told[1], /ENOENT/);
  writeFileSync(file, two.private);
  await until(() => told.length === 3);
  t.equal(told[2], undefined, 'taken again');
  t.not(firstOf(keys), kid);
});

t.test('a directory that was itself replaced is found by the poll', async (t) => {
  const [one, two] = [pem(), pem()];
  const directory = t.testdir({ keys: { 'token.pem': one.private } });
  const { keys } = open(t, [join(directory, 'keys', 'token.pem')]);
  const kid = firstOf(keys);
  mkdirSync(join(directory, 'next'));
  writeFileSync(join(directory, 'next', 'token.pem'), two.private);
  renameSync(join(directory, 'keys'), join(directory, 'gone'));
  renameSync(join(directory, 'next'), join(directory, 'keys'));
  await until(() => firstOf(keys) !== kid);
  t.pass('seen');
});
