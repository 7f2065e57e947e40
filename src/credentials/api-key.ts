/**
 * The form of an API key: `<prefix><id>_<secret><checksum>`, such as `mcp_4fX…_9aQ…`.
 * The id is public; the checksum turns away typing errors and noise without a look-up.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Refusal } from '../errors.ts';
import { apiKeyCharsMax } from '../limits.ts';
import { encodeBase62, type RandomBytes, randomBase62 } from './base62.ts';

const idChars = 12;
/** 32 base62 characters are 190 bits. */
const secretChars = 32;
const checksumChars = 6;
const afterPrefix = /^([0-9A-Za-z]{12})_[0-9A-Za-z]{32}([0-9A-Za-z]{6})$/;

export interface ApiKey {
  /** Public, 12 characters of base62; safe in logs. */
  readonly id: string;
  /** The whole key, shown once and never stored. */
  readonly text: string;
}

/** Makes a key; with `id`, a new secret for a key that exists. */
export function generateApiKey(
  prefix: string,
  random: RandomBytes = randomBytes,
  id = randomBase62(idChars, random),
): ApiKey {
  const unchecked = `${prefix}${id}_${randomBase62(secretChars, random)}`;
  return { id, text: unchecked + checksum(unchecked) };
}

/**
 * Reads a key without asking anyone.
 * @throws Refusal `invalid_credential` with reason `too_large`, `malformed` or `bad_checksum`
 */
export function readApiKey(prefix: string, text: string): ApiKey {
  if (text.length > apiKeyCharsMax) throw new Refusal('invalid_credential', { reason: 'too_large' });
  const match = text.startsWith(prefix) ? afterPrefix.exec(text.slice(prefix.length)) : null;
  const [, id, presented] = match ?? [];
  if (id === undefined) throw new Refusal('invalid_credential', { reason: 'malformed' });
  // Not a secret, so an ordinary comparison: anyone can compute a checksum.
  if (checksum(text.slice(0, -checksumChars)) !== presented) {
    throw new Refusal('invalid_credential', { reason: 'bad_checksum' });
  }
  return { id, text };
}

/** CRC-32 finds every error of one character, which is what a checksum is for; 62^6 is above 2^32. */
function checksum(text: string): string {
  return encodeBase62(crc32(text), checksumChars);
}
