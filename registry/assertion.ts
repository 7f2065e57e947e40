/** Whether a request came through the gateway: its signed word for exactly this request (X-Auth-Assertion). */
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import type { Logger } from 'pino';
import { Refusal } from './errors.ts';
import type { GatewayKeys } from './gateway-keys.ts';
import { assertionCharsMax, assertionLifetimeSeconds, clockToleranceSeconds } from './limits.ts';

const assertionType = 'portcullis-assertion+jwt';

export interface AssertionSettings {
  /** `auth.tokens.issuer` of the gateway. */
  readonly issuer: string;
  /** This registry's name among the gateway's `upstreams`. */
  readonly audience: string;
}

interface AssertionDeps extends AssertionSettings {
  readonly keys: GatewayKeys;
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: () => number;
  readonly log: Logger;
}

/** Why an assertion is not believed; for the log, in words. */
class Unbelieved extends Error {}

export class AssertionCheck {
  readonly #deps: AssertionDeps;

  constructor(deps: AssertionDeps) {
    this.#deps = deps;
  }

  /** @throws Refusal `keys_unavailable` before the gateway's keys were there for the first time */
  async requireReady(): Promise<void> {
    if (!(await this.#deps.keys.arrived())) throw new Refusal('keys_unavailable');
  }

  /**
   * @returns whom the gateway vouches for; empty for an anonymous caller of a public route
   * @throws Refusal `invalid_assertion`, `keys_unavailable`
   */
  async subjectOf(request: IncomingMessage, requestId: string): Promise<string> {
    try {
      return await this.#verified(request);
    } catch (error) {
      if (!(error instanceof Unbelieved)) throw error;
      const reason = error.message;
      this.#deps.log.info({ reason, request_id: requestId }, 'refused: no valid assertion of the gateway');
      throw new Refusal('invalid_assertion', { headers: { 'www-authenticate': 'Assertion' } });
    }
  }

  async #verified(request: IncomingMessage): Promise<string> {
    const text = request.headers['x-auth-assertion'];
    if (typeof text !== 'string') throw new Unbelieved('there is none');
    if (text.length > assertionCharsMax) throw new Unbelieved('it is too long');
    const key = await this.#keyOf(text);
    const claims = await this.#claims(text, key);
    requireSameRequest(claims, request);
    return claims.sub ?? '';
  }

  async #keyOf(text: string) {
    const { keys } = this.#deps;
    const key = await keys.find(keyIdOf(text));
    if (key !== undefined) return key;
    // Nothing can be said of it yet, so it is not said to be wrong.
    if (!keys.known) throw new Refusal('keys_unavailable');
    throw new Unbelieved('its key is not the gateway’s');
  }

  async #claims(text: string, key: Parameters<typeof jwtVerify>[1]): Promise<JWTPayload> {
    const { issuer, audience, wallMs } = this.#deps;
    try {
      const { payload } = await jwtVerify(text, key, {
        algorithms: ['EdDSA'],
        typ: assertionType,
        issuer,
        audience,
        requiredClaims: ['exp', 'iat', 'sub', 'method', 'target_sha256'],
        maxTokenAge: assertionLifetimeSeconds,
        clockTolerance: clockToleranceSeconds,
        currentDate: new Date(wallMs()),
      });
      return payload;
    } catch (error) {
      // The library's errors hold the claims; their messages only name them.
      if (error instanceof errors.JOSEError) throw new Unbelieved(error.message);
      throw error;
    }
  }
}

function keyIdOf(text: string): string {
  try {
    const { kid } = decodeProtectedHeader(text);
    if (typeof kid === 'string') return kid;
  } catch {
    throw new Unbelieved('it is no JWT');
  }
  throw new Unbelieved('it names no key');
}

/** To the byte: a proxy in between that rewrites targets breaks this, and should. */
function requireSameRequest({ method, target_sha256: digest }: JWTPayload, request: IncomingMessage): void {
  if (method !== request.method) throw new Unbelieved('it is for another method');
  const actual = createHash('sha256')
    .update(request.url ?? '', 'latin1')
    .digest('base64url');
  if (digest !== actual) throw new Unbelieved('it is for another target');
}
