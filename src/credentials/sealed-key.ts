/**
 * A private key as it lies in the database: encrypted (AES-256-GCM) under a key that HKDF (RFC 5869) makes of a
 * secret that is not in the database, so that a stolen database signs nothing.
 */
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { RandomBytes } from './base62.ts';
import { thumbprint } from './public-key.ts';

const algorithm = 'aes-256-gcm';
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** @param id the key's thumbprint, to which the seal is bound: no row's seal opens in another's place */
export function sealPrivateKey(secret: string, id: string, key: KeyObject, random: RandomBytes): string {
  const nonce = random(nonceBytes);
  const cipher = createCipheriv(algorithm, sealingKey(secret), nonce, { authTagLength: tagBytes });
  cipher.setAAD(Buffer.from(id));
  const sealed = cipher.update(key.export({ type: 'pkcs8', format: 'der' }));
  return Buffer.concat([nonce, sealed, cipher.final(), cipher.getAuthTag()]).toString('base64url');
}

/** The key, or `undefined` when it was sealed with another secret, was altered, or is not the key of this id. */
export function openPrivateKey(secret: string, id: string, text: string): KeyObject | undefined {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length <= nonceBytes + tagBytes) return undefined;
  const nonce = bytes.subarray(0, nonceBytes);
  const decipher = createDecipheriv(algorithm, sealingKey(secret), nonce, { authTagLength: tagBytes });
  decipher.setAAD(Buffer.from(id));
  decipher.setAuthTag(bytes.subarray(-tagBytes));
  try {
    const der = Buffer.concat([
      decipher.update(bytes.subarray(nonceBytes, -tagBytes)),
      // Throws for whatever is not what was sealed.
      decipher.final(),
    ]);
    const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    return thumbprint(createPublicKey(key).export({ format: 'jwk' })) === id ? key : undefined;
  } catch {
    return undefined;
  }
}

function sealingKey(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'portcullis assertion key', keyBytes));
}
