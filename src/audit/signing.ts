/** The key that signs heads of the audit log (Ed25519, RFC 8032): given, or generated once and kept. */
import {
  createPrivateKey,
  createPublicKey,
  hash,
  type KeyObject,
  sign as signWith,
  verify as verifyWith,
} from 'node:crypto';
import { loadSecrets, SecretError } from '../credentials/secrets.ts';

/** What is signed begins with this, so that no signature made for something else fits here. */
const domain = 'portcullis audit v1\n';
/** PKCS#8 of an Ed25519 seed is this, then the 32 bytes of the seed (RFC 8410 §7). */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex');
const seedBytes = 32;

export interface SigningKey extends VerifyingKey {
  /** @returns the signature in base64url, 86 characters */
  sign(text: string): string;
}

export interface VerifyingKey {
  /** Names the key in what it signs: the first 16 hex digits of the SHA-256 of its public half (SPKI, DER). */
  readonly id: string;
  /** Of the public half. */
  readonly pem: string;
  /** Whether the signature is of this text, and spelled as we spell it. */
  verifies(text: string | Uint8Array, signature: string): boolean;
}

/** A file that holds no key to sign or verify a log with. The message follows the file's name. */
export class AuditKeyError extends Error {}

/** @param text PEM; of a private key, or several, the public halves are taken. @throws AuditKeyError */
export function verifyingKeys(text: string): readonly VerifyingKey[] {
  const blocks = text.match(/-----BEGIN [A-Z ]{1,40}-----[\s\S]*?-----END [A-Z ]{1,40}-----/g) ?? [];
  if (blocks.length === 0) throw new AuditKeyError('holds no key in PEM; `portcullis audit key` prints it');
  return blocks.map((block) => verifyingKey(parsed(() => createPublicKey(block))));
}

/** @param pem PKCS#8. @throws AuditKeyError */
export function signingKeyOf(pem: string): SigningKey {
  return signingKey(parsed(() => createPrivateKey(pem)));
}

/**
 * The key kept in `file`, made at the first time (mode 0600).
 * @throws SecretError for a file that cannot be read or made, or that others can read
 */
export function keptSigningKey(file: string): SigningKey {
  const [kept] = loadSecrets({ option: 'audit.signing_key', given: [], file });
  const seed = Buffer.from(kept, 'base64url');
  if (seed.length !== seedBytes)
    throw new SecretError(`${file}: holds no signing key; restore it, or remove it to make a new one`);
  return signingKey(
    createPrivateKey({ key: Buffer.concat([pkcs8Head, seed]), format: 'der', type: 'pkcs8' }),
  );
}

/** OpenSSL's messages say nothing that helps, and could say something of the key. */
function parsed(parse: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = parse();
  } catch {
    throw new AuditKeyError('is PEM whose content is damaged, or not what is needed here');
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw new AuditKeyError('is no Ed25519 key; make one with: openssl genpkey -algorithm ed25519');
  return key;
}

function signingKey(key: KeyObject): SigningKey {
  return {
    ...verifyingKey(createPublicKey(key)),
    sign: (text) => signWith(null, Buffer.from(domain + text), key).toString('base64url'),
  };
}

function verifyingKey(key: KeyObject): VerifyingKey {
  const id = hash('sha256', key.export({ format: 'der', type: 'spki' }), 'hex').slice(0, 16);
  return {
    id,
    pem: key.export({ format: 'pem', type: 'spki' }).toString(),
    verifies: (text, signature) => {
      const bytes = Buffer.from(signature, 'base64url');
      // The last character has bits to spare: one signature must have one spelling, or a changed byte goes unseen.
      if (bytes.toString('base64url') !== signature) return false;
      return verifyWith(null, Buffer.concat([Buffer.from(domain), Buffer.from(text)]), key, bytes);
    },
  };
}
