/**
 * Our own tokens: access tokens (RFC 9068) and refresh tokens, both JWTs signed with HS256 from a list of secrets.
 * Verification is stricter than the library's (RFC 8725); every case of it is a test.
 */
import { randomBytes } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import type { Clock, WallMs } from '../clock.ts';
import { type Reason, Refusal } from '../errors.ts';
import { tokenLeewaySeconds } from '../limits.ts';
import { type RandomBytes, randomBase62 } from './base62.ts';
import { type CompactJwt, readCompactJwt } from './compact-jwt.ts';
import { fingerprint, type Secrets } from './secrets.ts';

const algorithm = 'HS256';
/** 22 base62 characters are 130 bits. */
const tokenIdChars = 22;
const requiredClaims = ['iss', 'aud', 'sub', 'exp', 'iat', 'jti', 'sid'];
/** A header of ours has these and no others: `jku`, `x5u`, `jwk`, `crit`, `b64` are refused by not being here. */
const headerNames: ReadonlySet<string> = new Set(['alg', 'typ', 'kid']);

/** `typ` and audience both differ, so that neither kind ever passes as the other (RFC 8725 §3.11, §3.12). */
const tokenTypes = { access: 'at+jwt', refresh: 'rt+jwt' } as const;
type TokenKind = keyof typeof tokenTypes;

/** What goes into a token. */
export interface TokenGrant {
  /** `user:<id>` or `key:<id>`. */
  readonly subject: string;
  readonly sessionId: string;
  /** Space-separated (RFC 9068 §2.2.3). Says what was granted then; what counts is what the database says now. */
  readonly scope: string;
  readonly expiresAt: WallMs;
}

export interface IssuedToken {
  readonly text: string;
  /** `jti`. */
  readonly id: string;
  readonly lifetimeSeconds: number;
}

/** What a verified token says. */
export interface TokenClaims {
  readonly subject: string;
  readonly sessionId: string;
  /** `jti`. */
  readonly id: string;
}

export interface TokenSettings {
  readonly secrets: Secrets;
  readonly issuer: string;
  readonly audience: string;
}

interface SigningKey {
  readonly id: string;
  readonly key: CryptoKey;
}

/** Imports the secrets once: bytes would be imported again at every verification. */
export async function openTokens(
  settings: TokenSettings,
  clock: Clock,
  random: RandomBytes = randomBytes,
): Promise<Tokens> {
  const [first, ...rest] = settings.secrets;
  const keys = await Promise.all([importSecret(first), ...rest.map(importSecret)] as const);
  return new Tokens(settings, keys, clock, random);
}

async function importSecret(secret: string): Promise<SigningKey> {
  const use = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', Buffer.from(secret), use, false, ['sign', 'verify']);
  return { id: fingerprint(secret), key };
}

export class Tokens {
  readonly #issuer: string;
  readonly #audiences: Readonly<Record<TokenKind, string>>;
  readonly #first: SigningKey;
  readonly #keys: ReadonlyMap<string, CryptoKey>;
  readonly #clock: Clock;
  readonly #random: RandomBytes;

  constructor(
    settings: TokenSettings,
    keys: readonly [SigningKey, ...SigningKey[]],
    clock: Clock,
    random: RandomBytes,
  ) {
    this.#issuer = settings.issuer;
    this.#audiences = { access: settings.audience, refresh: `${settings.audience}:refresh` };
    this.#first = keys[0];
    this.#keys = new Map(keys.map(({ id, key }) => [id, key]));
    this.#clock = clock;
    this.#random = random;
  }

  /** A fresh `jti`; a session has to know its refresh token's before the token is made. */
  newId(): string {
    return randomBase62(tokenIdChars, this.#random);
  }

  issueAccess(grant: TokenGrant): Promise<IssuedToken> {
    return this.#issue('access', grant, this.newId());
  }

  issueRefresh(grant: TokenGrant, id: string): Promise<IssuedToken> {
    return this.#issue('refresh', grant, id);
  }

  /** @throws Refusal `invalid_credential` with its reason */
  verifyAccess(text: string): Promise<TokenClaims> {
    return this.#verify('access', text);
  }

  /** @throws Refusal `invalid_credential` with its reason */
  verifyRefresh(text: string): Promise<TokenClaims> {
    return this.#verify('refresh', text);
  }

  async #issue(kind: TokenKind, grant: TokenGrant, id: string): Promise<IssuedToken> {
    const issuedSeconds = Math.floor(this.#clock.wallMs() / 1000);
    // Rounded down: a token may die a fraction of a second before its session or key, never after it.
    const expiresSeconds = Math.floor(grant.expiresAt / 1000);
    const text = await new SignJWT({ sid: grant.sessionId, scope: grant.scope })
      .setProtectedHeader({ alg: algorithm, typ: tokenTypes[kind], kid: this.#first.id })
      .setIssuer(this.#issuer)
      .setAudience(this.#audiences[kind])
      .setSubject(grant.subject)
      .setIssuedAt(issuedSeconds)
      .setExpirationTime(expiresSeconds)
      .setJti(id)
      .sign(this.#first.key);
    return { text, id, lifetimeSeconds: Math.max(0, expiresSeconds - issuedSeconds) };
  }

  async #verify(kind: TokenKind, text: string): Promise<TokenClaims> {
    const key = this.#keyFor(kind, readCompactJwt(text));
    try {
      const { payload } = await jwtVerify(text, key, {
        algorithms: [algorithm],
        issuer: this.#issuer,
        audience: this.#audiences[kind],
        typ: tokenTypes[kind],
        requiredClaims,
        currentDate: new Date(this.#clock.wallMs()),
        clockTolerance: tokenLeewaySeconds,
      });
      return claimsOf(payload, this.#clock.wallMs());
    } catch (error) {
      throw refusalFor(error);
    }
  }

  /** Everything the header decides, before a signature costs anything. A key is picked, never fetched (attacks 23, 24). */
  #keyFor(kind: TokenKind, { header, signature }: CompactJwt): CryptoKey {
    if (header.alg !== algorithm) throw invalid('wrong_algorithm');
    if (header.typ !== tokenTypes[kind]) throw invalid('wrong_type');
    if (!Object.keys(header).every((name) => headerNames.has(name))) throw invalid('malformed');
    const key = typeof header.kid === 'string' ? this.#keys.get(header.kid) : undefined;
    if (key === undefined || signature.length !== 32) throw invalid('bad_signature');
    return key;
  }
}

/** The types of all claims and the times, which the library leaves loose. */
function claimsOf(payload: JWTPayload, now: WallMs): TokenClaims {
  const { sub, jti, sid, aud, exp, iat, nbf, scope } = payload;
  if (typeof sub !== 'string' || typeof jti !== 'string' || typeof sid !== 'string')
    throw invalid('malformed');
  if (typeof aud !== 'string' || (scope !== undefined && typeof scope !== 'string'))
    throw invalid('malformed');
  requireTimes({ exp, iat, nbf: nbf ?? iat }, now);
  return { subject: sub, sessionId: sid, id: jti };
}

/** No leeway for `exp`: it is our own clock that set it. `1e999` is Infinity, and never expires. */
function requireTimes(times: Readonly<Record<'exp' | 'iat' | 'nbf', unknown>>, now: WallMs): void {
  const { exp, iat, nbf } = times;
  if (!isSeconds(exp) || !isSeconds(iat) || !isSeconds(nbf)) throw invalid('malformed');
  if (exp * 1000 <= now) throw invalid('expired');
  const latest = now + tokenLeewaySeconds * 1000;
  if (iat * 1000 > latest || nbf * 1000 > latest) throw invalid('not_yet_valid');
}

function isSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

const reasonsByClaim: Readonly<Record<string, Reason>> = {
  iss: 'wrong_issuer',
  aud: 'wrong_audience',
  typ: 'wrong_type',
  nbf: 'not_yet_valid',
};

/** The library's errors hold the payload, so none of them travels on as a cause. */
function refusalFor(error: unknown): unknown {
  if (error instanceof errors.JWSSignatureVerificationFailed) return invalid('bad_signature');
  if (error instanceof errors.JWTExpired) return invalid('expired');
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === 'missing') return invalid('missing_claim');
    return invalid((error.reason === 'check_failed' && reasonsByClaim[error.claim]) || 'malformed');
  }
  return error instanceof errors.JOSEError ? invalid('malformed') : error;
}

function invalid(reason: Reason): Refusal {
  return new Refusal('invalid_credential', { reason });
}
