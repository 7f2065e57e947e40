/**
 * The gateway's signed word to a service: this subject asks for exactly this, now. A JWT (RFC 7519) signed with
 * Ed25519 (RFC 8037) that the service checks with the published JWK Set. Bound to method, target and subject, so
 * that whoever gets hold of one can repeat one request for half a minute and nothing else.
 */
import { createHash, type KeyObject, sign } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock, WallMs } from '../clock.ts';
import { Refusal } from '../errors.ts';
import type { Principal } from '../exchange.ts';
import {
  assertionLifetimeMs,
  assertionReuseMs,
  assertionsKeptCharsMax,
  assertionsKeptMax,
} from '../limits.ts';

/** A type of its own: it passes nowhere as an access token, and no access token passes as one (RFC 8725 §3.11). */
const assertionType = 'portcullis-assertion+jwt';

/** An Ed25519 key that assertions are signed with. */
export interface AssertionKey {
  /** Its thumbprint, the `kid`. */
  readonly id: string;
  readonly privateKey: KeyObject;
}

/** What is asserted. */
export interface Asserted {
  /** The name of the upstream, its audience. */
  readonly upstream: string;
  readonly method: string;
  /** As forwarded, to the byte: path and query. */
  readonly target: string;
  readonly principal: Principal;
}

export interface AssertionsDeps {
  /** `iss`. */
  readonly issuer: string;
  /** The key that signs at this moment; `undefined` when there is none. */
  readonly signingKey: () => AssertionKey | undefined;
  readonly clock: Clock;
}

interface Kept {
  readonly text: string;
  readonly madeAt: WallMs;
}

export class Assertions {
  readonly #deps: AssertionsDeps;
  readonly #kept = new LRUCache<string, Kept>({
    max: assertionsKeptMax,
    maxSize: assertionsKeptCharsMax,
    sizeCalculation: ({ text }, key) => text.length + key.length,
  });

  constructor(deps: AssertionsDeps) {
    this.#deps = deps;
  }

  /**
   * The assertion of a request. The same for the same within ten seconds, since a signature costs more than all else
   * that is done for a request.
   * @throws Refusal `store_unavailable` when there is no key, as after a month without the database
   */
  of(asserted: Asserted): string {
    const now = this.#deps.clock.wallMs();
    const key = keptBy(asserted);
    const kept = this.#kept.get(key);
    // By the clock that the verifier reads too; one that was set back makes none younger.
    if (kept !== undefined && now >= kept.madeAt && now - kept.madeAt < assertionReuseMs) return kept.text;
    const text = this.#sign(asserted, now);
    this.#kept.set(key, { text, madeAt: now });
    return text;
  }

  #sign(asserted: Asserted, now: WallMs): string {
    const key = this.#deps.signingKey();
    if (key === undefined) throw new Refusal('store_unavailable', { retryAfterSeconds: 1 });
    const header = part({ alg: 'EdDSA', typ: assertionType, kid: key.id });
    const input = `${header}.${part(this.#claims(asserted, now))}`;
    return `${input}.${sign(null, Buffer.from(input), key.privateKey).toString('base64url')}`;
  }

  #claims({ upstream, method, target, principal }: Asserted, now: WallMs): object {
    const { subject, authType, permissions, keyId } = principal;
    const issuedSeconds = Math.floor(now / 1000);
    return {
      iss: this.#deps.issuer,
      aud: upstream,
      sub: subject,
      iat: issuedSeconds,
      exp: issuedSeconds + assertionLifetimeMs / 1000,
      method,
      // A digest, for a long target would not fit twice into what most servers take as a head.
      target_sha256: createHash('sha256').update(target, 'latin1').digest('base64url'),
      auth_type: authType,
      scope: [...permissions].join(' '),
      ...(keyId !== undefined && { key_id: keyId }),
    };
  }
}

/** All that goes into it but the times. No part can hold a line end: phase 1 and the verifiers see to that. */
function keptBy({ upstream, method, target, principal }: Asserted): string {
  const { subject, authType, permissions, keyId } = principal;
  return [upstream, method, target, authType, [...permissions].join(' '), keyId ?? '', subject].join('\n');
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
