/**
 * How an API key is stored: its HMAC-SHA256 under a key that is not in the database, so that a stolen database
 * holds nothing to guess against. A list rotates: the first seals, all verify.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { fingerprint } from './secrets.ts';

/** A sealed API key as it lies in the database. */
export interface SealedKey {
  /** HMAC-SHA256 of the whole key, base64url. */
  readonly secret_hmac: string;
  /** Which HMAC key sealed it, by its fingerprint. */
  readonly hmac_key: string;
}

export interface KeySeal {
  seal(text: string): SealedKey;
  /** Whether `text` is the sealed key. An unknown one (`undefined`) costs the same work and is never it. */
  matches(sealed: SealedKey | undefined, text: string): boolean;
}

/** @param hmacKeys at least one; the first seals */
export function keySeal(hmacKeys: readonly [string, ...string[]]): KeySeal {
  const byFingerprint = new Map(hmacKeys.map((key) => [fingerprint(key), key]));
  const [first] = hmacKeys;
  const dummy: SealedKey = { secret_hmac: hmac(first, 'no key at all').toString('base64url'), hmac_key: '' };
  return {
    seal: (text) => ({ secret_hmac: hmac(first, text).toString('base64url'), hmac_key: fingerprint(first) }),
    matches(sealed, text) {
      const key = byFingerprint.get(sealed?.hmac_key ?? '');
      const expected = Buffer.from((sealed ?? dummy).secret_hmac, 'base64url');
      const actual = hmac(key ?? first, text);
      // The comparison comes first: an unknown key must take as long as a wrong one (attacks 29).
      const same = expected.length === actual.length && timingSafeEqual(expected, actual);
      return same && key !== undefined && sealed !== undefined;
    },
  };
}

function hmac(key: string, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
