/** Which public keys are strong enough to be believed, what they may verify, and their name. */
import { createHash, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { rsaBitsMax } from '../limits.ts';
import type { PublicKeyAlgorithm } from './jws.ts';

/** RFC 7518 §3.3. */
const rsaBitsMin = 2048;
const rsaExponentMin = 65_537n;
/** A larger one only makes each verification dearer. */
const rsaExponentMax = 2n ** 32n;

const curves: Readonly<Record<string, PublicKeyAlgorithm>> = {
  prime256v1: 'ES256',
  secp384r1: 'ES384',
  secp521r1: 'ES512',
};

/** What a key may be used for, or why it must not be used, as words that follow its name. */
export type Judgement =
  | { readonly algorithms: readonly PublicKeyAlgorithm[] }
  | { readonly fault: string; readonly weak: boolean };

export function judge(key: KeyObject): Judgement {
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return { algorithms: ['EdDSA', 'Ed25519'] };
    case 'ec':
      return judgeCurve(key.asymmetricKeyDetails?.namedCurve ?? 'unnamed');
    case 'rsa':
      return judgeRsa(key);
    default:
      return {
        fault: `is of a kind that is not used here (${key.asymmetricKeyType ?? key.type})`,
        weak: false,
      };
  }
}

function judgeCurve(curve: string): Judgement {
  const algorithm = Object.hasOwn(curves, curve) ? curves[curve] : undefined;
  if (algorithm === undefined)
    return { fault: `is on the curve ${curve}, which is not used here`, weak: false };
  return { algorithms: [algorithm] };
}

function judgeRsa({ asymmetricKeyDetails }: KeyObject): Judgement {
  const bits = asymmetricKeyDetails?.modulusLength ?? 0;
  const exponent = asymmetricKeyDetails?.publicExponent ?? 0n;
  if (bits < rsaBitsMin) return { fault: `is RSA of ${bits} bits; 2048 are the least`, weak: true };
  if (bits > rsaBitsMax) return { fault: `is RSA of ${bits} bits; ${rsaBitsMax} are the most`, weak: false };
  if (exponent < rsaExponentMin) return { fault: 'is RSA with an exponent below 65537', weak: true };
  if (exponent > rsaExponentMax || exponent % 2n === 0n) {
    return { fault: 'is RSA with an exponent that is even or above 2^32', weak: true };
  }
  return { algorithms: ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] };
}

/** The members that make a key what it is, in the order of RFC 7638 §3.2. */
const members: Readonly<Record<string, readonly (keyof JWK & string)[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** Nothing but those members: no private part of a key survives this. */
export function publicMembers(jwk: JWK): JWK {
  const { kty = '' } = jwk;
  const names = (Object.hasOwn(members, kty) && members[kty]) || [];
  return Object.fromEntries(names.map((name) => [name, jwk[name]]));
}

/** SHA-256 of the key's canonical JWK, base64url (RFC 7638). */
export function thumbprint(jwk: JWK): string {
  return createHash('sha256')
    .update(JSON.stringify(publicMembers(jwk)))
    .digest('base64url');
}
