/**
 * Our own tokens: access tokens (RFC 9068) and refresh tokens, both JWTs signed by the first of a list of keys.
 * Verification is stricter than the library's (RFC 8725); every case of it is a test.
 */
import { randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import type { Clock, WallMs } from '../clock.ts';
import { tokenLeewaySeconds } from '../limits.ts';
import { type RandomBytes, randomBase62 } from './base62.ts';
import { invalid, requireClaims, requireTimes } from './claims.ts';
import { type CompactJwt, readCompactJwt } from './compact-jwt.ts';
import { isSigned } from './jws.ts';
import type { TokenKey } from './key-pem.ts';
import type { TokenKeySet, TokenKeys } from './token-keys.ts';

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
  /** `exp`. */
  readonly expiresAt: WallMs;
  /** Whether the keys are still those that it was verified by. */
  readonly holds: () => boolean;
}

export interface TokenSettings {
  readonly keys: TokenKeys;
  readonly issuer: string;
  readonly audience: string;
}

export class Tokens {
  readonly #issuer: string;
  readonly #audiences: Readonly<Record<TokenKind, string>>;
  readonly #keys: TokenKeys;
  readonly #clock: Clock;
  readonly #random: RandomBytes;

  constructor({ keys, issuer, audience }: TokenSettings, clock: Clock, random: RandomBytes = randomBytes) {
    this.#issuer = issuer;
    this.#audiences = { access: audience, refresh: `${audience}:refresh` };
    this.#keys = keys;
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
    const { first } = this.#keys.current();
    const issuedSeconds = Math.floor(this.#clock.wallMs() / 1000);
    // Rounded down: a token may die a fraction of a second before its session or key, never after it.
    const expiresSeconds = Math.floor(grant.expiresAt / 1000);
    const text = await new SignJWT({ sid: grant.sessionId, scope: grant.scope })
      .setProtectedHeader({ alg: first.algorithm, typ: tokenTypes[kind], kid: first.id })
      .setIssuer(this.#issuer)
      .setAudience(this.#audiences[kind])
      .setSubject(grant.subject)
      .setIssuedAt(issuedSeconds)
      .setExpirationTime(expiresSeconds)
      .setJti(id)
      .sign(first.signWith);
    return { text, id, lifetimeSeconds: Math.max(0, expiresSeconds - issuedSeconds) };
  }

  async #verify(kind: TokenKind, text: string): Promise<TokenClaims> {
    const jwt = readCompactJwt(text);
    const keys = this.#keys.current();
    const key = keyFor(keys, kind, jwt);
    if (!(await isSigned(text, key.verifyWith, key.algorithm))) throw invalid('bad_signature');
    const { payload } = jwt;
    requireClaims(payload, requiredClaims);
    if (payload.iss !== this.#issuer) throw invalid('wrong_issuer');
    const claims = claimsOf(payload, this.#audiences[kind], this.#clock.wallMs());
    return { ...claims, holds: () => this.#keys.current() === keys };
  }
}

/** Everything the header decides, before a signature costs anything. A key is picked, never fetched (attacks 23, 24). */
function keyFor({ byId }: TokenKeySet, kind: TokenKind, { header, signature }: CompactJwt): TokenKey {
  const algorithms = new Set<unknown>([...byId.values()].map((key) => key.algorithm));
  if (!algorithms.has(header.alg)) throw invalid('wrong_algorithm');
  if (header.typ !== tokenTypes[kind]) throw invalid('wrong_type');
  if (!Object.keys(header).every((name) => headerNames.has(name))) throw invalid('malformed');
  const key = typeof header.kid === 'string' ? byId.get(header.kid) : undefined;
  if (key === undefined || signature.length === 0) throw invalid('bad_signature');
  // The key says which algorithm, not the token: a public key must never serve as an HMAC secret (attack 22).
  if (header.alg !== key.algorithm) throw invalid('wrong_algorithm');
  return key;
}

/** The types of all claims, and the times. No leeway for `exp`: it is our own clock that set it. */
function claimsOf(payload: CompactJwt['payload'], audience: string, now: WallMs): Omit<TokenClaims, 'holds'> {
  const { sub, jti, sid, aud, scope } = payload;
  if (typeof sub !== 'string' || typeof jti !== 'string' || typeof sid !== 'string')
    throw invalid('malformed');
  if (typeof aud !== 'string' || (scope !== undefined && typeof scope !== 'string'))
    throw invalid('malformed');
  if (aud !== audience) throw invalid('wrong_audience');
  requireTimes(payload, { expMs: 0, aheadMs: tokenLeewaySeconds * 1000 }, now, isWholeSeconds);
  const expiresAt = (Number(payload.exp) * 1000) as WallMs;
  return { subject: sub, sessionId: sid, id: jti, expiresAt };
}

/** Ours have no fractions. */
function isWholeSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
