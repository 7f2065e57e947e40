import { generateKeyPairSync, randomBytes } from 'node:crypto';
import t from 'tap';
import { thumbprint } from '../../src/credentials/public-key.ts';
import { openPrivateKey, sealPrivateKey } from '../../src/credentials/sealed-key.ts';

const secret = 'a secret of more than thirty-two bytes';

function sealed() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const id = thumbprint(publicKey.export({ format: 'jwk' }));
  return { id, privateKey, text: sealPrivateKey(secret, id, privateKey, randomBytes) };
}

t.test('what was sealed is opened with the same secret', async (t) => {
  const { id, privateKey, text } = sealed();
  t.ok(openPrivateKey(secret, id, text)?.equals(privateKey));
});

t.test('nothing of the key is in the seal, and no two seals are alike', async (t) => {
  const { id, privateKey, text } = sealed();
  const secretBytes = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
  t.equal(secretBytes.length, 32);
  t.notOk(Buffer.from(text, 'base64url').includes(secretBytes.subarray(0, 8)));
  t.not(sealPrivateKey(secret, id, privateKey, randomBytes), text);
});

t.test('another secret, another row’s id and any changed bit open nothing', async (t) => {
  const { id, text } = sealed();
  t.equal(openPrivateKey(`${secret}.`, id, text), undefined);
  t.equal(openPrivateKey(secret, sealed().id, text), undefined);
  const bytes = Buffer.from(text, 'base64url');
  for (let index = 0; index < bytes.length; index += 1) {
    const altered = Buffer.from(bytes);
    altered[index] = (altered[index] ?? 0) ^ 1;
    t.equal(openPrivateKey(secret, id, altered.toString('base64url')), undefined, `byte ${index}`);
  }
  for (const wrong of ['', 'x', text.slice(0, 20), text.slice(0, -4)])
    t.equal(openPrivateKey(secret, id, wrong), undefined);
});

t.test('a key that was sealed under another key’s id is not taken', async (t) => {
  const [one, other] = [sealed(), sealed()];
  const text = sealPrivateKey(secret, other.id, one.privateKey, randomBytes);
  t.equal(openPrivateKey(secret, other.id, text), undefined);
});
