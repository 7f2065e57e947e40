/** A key of ours from a PEM file: PKCS#8 to sign with, SPKI to verify only (RFC 7468, RFC 5958). */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import type { Key } from './jws.ts';
import { judge, publicMembers, thumbprint } from './public-key.ts';

/** What our own tokens are signed with. */
const ownAlgorithms = ['EdDSA', 'ES256', 'RS256'] as const;
type OwnAlgorithm = (typeof ownAlgorithms)[number];

/** A key that our own tokens may have been signed with. */
export interface TokenKey {
  /** The token's `kid`. */
  readonly id: string;
  readonly algorithm: 'HS256' | OwnAlgorithm;
  readonly verifyWith: Key;
  /** Absent for a key that only verifies. */
  readonly signWith: Key | undefined;
  /** As published; absent for a secret. */
  readonly jwk: JWK | undefined;
}

/** A file that holds no key of ours. Says what is wrong and what to do, and nothing of the key. */
export class KeyPemError extends Error {
  readonly hint: string;

  /** @param message words that follow the file's name */
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

const make = 'Make one with: openssl genpkey -algorithm ed25519 -out key.pem';
const convert = 'Convert it with: openssl pkcs8 -topk8 -nocrypt -in old.pem -out key.pem';

/** By PEM label (RFC 7468): what is not read here, and why. */
const otherLabels: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  'RSA PRIVATE KEY': ['is PKCS#1, not PKCS#8', convert],
  'EC PRIVATE KEY': ['is SEC 1, not PKCS#8', convert],
  'EC PARAMETERS': ['is SEC 1, not PKCS#8', convert],
  'ENCRYPTED PRIVATE KEY': ['is encrypted, and nobody is there to give its passphrase', convert],
  'OPENSSH PRIVATE KEY': ['is a key of OpenSSH, not PKCS#8', make],
  CERTIFICATE: ['is a certificate, not a key', make],
};

/** @throws KeyPemError */
export function readKeyPem(text: string): TokenKey {
  const labels = [...text.matchAll(/^-----BEGIN ([A-Z0-9 ]{1,40})-----\s*$/gm)].map(
    ([, label = '']) => label,
  );
  const [label] = labels;
  if (label === undefined) throw new KeyPemError('is not PEM', make);
  if (label !== 'PRIVATE KEY' && label !== 'PUBLIC KEY') {
    const [message, hint] = (Object.hasOwn(otherLabels, label) && otherLabels[label]) || [
      'is no PEM of a key',
      make,
    ];
    throw new KeyPemError(message, hint);
  }
  if (labels.length > 1) throw new KeyPemError('holds more than one key', 'Write each to a file of its own.');
  const signWith = label === 'PRIVATE KEY' ? parsed(() => createPrivateKey(text)) : undefined;
  const verifyWith = parsed(() => createPublicKey(signWith === undefined ? text : signWith));
  return tokenKey(verifyWith, signWith);
}

/** OpenSSL's messages say nothing that helps, and could say something of the key. */
function parsed(parse: () => KeyObject): KeyObject {
  try {
    return parse();
  } catch {
    throw new KeyPemError('is PEM whose content is damaged', make);
  }
}

function tokenKey(verifyWith: KeyObject, signWith: KeyObject | undefined): TokenKey {
  const judgement = judge(verifyWith);
  if ('fault' in judgement) throw new KeyPemError(judgement.fault, make);
  const algorithm = ownAlgorithms.find((own) => judgement.algorithms.includes(own));
  if (algorithm === undefined) {
    const curve = verifyWith.asymmetricKeyDetails?.namedCurve;
    throw new KeyPemError(`is on the curve ${curve}, which our tokens do not use; P-256 is`, make);
  }
  const jwk = publicMembers(verifyWith.export({ format: 'jwk' }));
  const id = thumbprint(jwk);
  return { id, algorithm, verifyWith, signWith, jwk: { ...jwk, kid: id, alg: algorithm, use: 'sig' } };
}
