import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { generateApiKey, readApiKey } from '../../src/credentials/api-key.ts';
import { encodeBase62, randomBase62 } from '../../src/credentials/base62.ts';
import { keySeal } from '../../src/credentials/key-hmac.ts';
import { Refusal } from '../../src/errors.ts';

const reasonOf = (work: () => unknown): string | undefined => {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal && error.code === 'invalid_credential') return error.reason;
    throw error;
  }
  return undefined;
};

t.test('a key has the public form, and its checksum is the CRC-32 of what stands before it', async (t) => {
  const { id, text } = generateApiKey('mcp_');
  t.match(text, /^mcp_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}$/);
  t.equal(text.slice(4, 16), id);
  t.equal(text.slice(-6), encodeBase62(crc32(text.slice(0, -6)), 6));
  t.same(readApiKey('mcp_', text), { id, text });
});

t.test('a new secret can be made for an id that exists', async (t) => {
  const first = generateApiKey('mcp_');
  const second = generateApiKey('mcp_', undefined, first.id);
  t.equal(second.id, first.id);
  t.not(second.text, first.text);
});

t.test('noise is turned away with its reason', async (t) => {
  const { text } = generateApiKey('mcp_');
  const sample = 'mcp_-tn1XqqtdGub5NAzzn_qSoLrvJv9gmMwB0y-kfLDsak';
  t.equal(
    reasonOf(() => readApiKey('mcp_', sample)),
    'malformed',
    'the published sample key (attacks 30)',
  );
  t.equal(
    reasonOf(() => readApiKey('abc_', text)),
    'malformed',
    'another prefix',
  );
  t.equal(
    reasonOf(() => readApiKey('mcp_', `${text}\n`)),
    'malformed',
  );
  t.equal(
    reasonOf(() => readApiKey('mcp_', '')),
    'malformed',
  );
  t.equal(
    reasonOf(() => readApiKey('mcp_', `mcp_${'a'.repeat(300)}`)),
    'too_large',
  );
});

t.test('any one character changed makes another text that is no key', async (t) => {
  const place = fc.nat({ max: 54 });
  const replacement = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 1 });
  fc.assert(
    fc.property(place, replacement, (at, char) => {
      const { text } = generateApiKey('mcp_');
      const changed = text.slice(0, at) + char + text.slice(at + 1);
      return changed === text || reasonOf(() => readApiKey('mcp_', changed)) !== undefined;
    }),
    { numRuns: 1_000 },
  );
  t.pass();
});

t.test('random base62 takes no byte that would favour some characters', async (t) => {
  let calls = 0;
  const random = (bytes: number) => {
    calls += 1;
    return new Uint8Array(bytes).fill(calls === 1 ? 255 : 61);
  };
  t.equal(randomBase62(3, random), 'zzz');
  t.equal(calls, 2);
});

t.test('the first HMAC key seals, all in the list verify, one that was removed does not', async (t) => {
  const { text } = generateApiKey('mcp_');
  const old = keySeal(['old-hmac-key-old-hmac-key-old-hmac-key']);
  const rotating = keySeal(['new-hmac-key-new-hmac-key', 'old-hmac-key-old-hmac-key-old-hmac-key']);
  const after = keySeal(['new-hmac-key-new-hmac-key']);
  t.ok(rotating.matches(old.seal(text), text));
  t.ok(after.matches(rotating.seal(text), text));
  t.notOk(after.matches(old.seal(text), text));
  t.notOk(rotating.matches(old.seal(text), generateApiKey('mcp_').text));
  t.notMatch(JSON.stringify(old.seal(text)), text.slice(17, 40), 'nothing of the secret is stored');
});

t.test('an unknown key matches nothing, not even the dummy', async (t) => {
  const seal = keySeal(['old-hmac-key-old-hmac-key-old-hmac-key']);
  t.notOk(seal.matches(undefined, 'no key at all'));
});
