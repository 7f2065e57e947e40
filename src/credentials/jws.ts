/** Signatures of compact JWS (RFC 7515). A key is bound to the algorithms it may be used with (RFC 8725 §3.1). */
import type { KeyObject } from 'node:crypto';
import { compactVerify, errors } from 'jose';

/** What external issuers may sign with (RFC 7518 §3.1, RFC 8037, RFC 9864). Nothing symmetric is among them. */
export const publicKeyAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const;
export type PublicKeyAlgorithm = (typeof publicKeyAlgorithms)[number];

export type Algorithm = PublicKeyAlgorithm | 'HS256';

/** Imported once; bytes would be imported again at every verification. */
export type Key = CryptoKey | KeyObject;

/**
 * Whether `text` was signed with `key` by `algorithm` and no other. The caller has read the header strictly and
 * knows that the key is one for this algorithm.
 */
export async function isSigned(text: string, key: Key, algorithm: Algorithm): Promise<boolean> {
  try {
    await compactVerify(text, key, { algorithms: [algorithm] });
    return true;
  } catch (error) {
    // The library's errors can hold the payload, so none of them travels on as a cause.
    if (error instanceof errors.JOSEError) return false;
    throw error;
  }
}
