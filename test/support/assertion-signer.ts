/** A gateway's signature without a gateway: a key, its JWK Set, and assertions that can be wrong in any way. */
import { createHash } from 'node:crypto';
import { signed, type TestKey, testKey } from './issuer.ts';

const assertionType = 'portcullis-assertion+jwt';

export interface AssertionSigner {
  readonly key: TestKey;
  readonly jwks: string;
  /** @param changes to the header and the claims; `undefined` takes one away */
  assertion(asserted: Asserted, changes?: { header?: object; claims?: object }): string;
}

interface Asserted {
  readonly method: string;
  readonly target: string;
  /** Empty unless given. */
  readonly subject?: string;
  readonly nowMs?: number;
}

export function targetDigest(target: string): string {
  return createHash('sha256').update(target).digest('base64url');
}

/** The header and claims as the gateway makes them. */
function plainAssertion({ method, target, subject = '', nowMs = Date.now() }: Asserted, kid: string) {
  const iat = Math.floor(nowMs / 1000);
  return {
    header: { alg: 'EdDSA', typ: assertionType, kid },
    claims: {
      iss: 'portcullis',
      aud: 'registry',
      sub: subject,
      iat,
      exp: iat + 30,
      method,
      target_sha256: targetDigest(target),
      auth_type: 'none',
      scope: '',
    },
  };
}

export function assertionSigner(kid = 'gateway-1'): AssertionSigner {
  const key = testKey('EdDSA', kid);
  return {
    key,
    jwks: JSON.stringify({ keys: [{ ...key.jwk, alg: 'EdDSA', use: 'sig' }] }),
    assertion: (asserted, { header = {}, claims = {} } = {}) => {
      const plain = plainAssertion(asserted, kid);
      return signed({ ...plain.header, ...header }, { ...plain.claims, ...claims }, key);
    },
  };
}
