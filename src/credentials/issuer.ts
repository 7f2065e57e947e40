/** Tokens of one external issuer, verified as strictly as our own wherever the standards leave room (RFC 8725). */
import { createHash } from 'node:crypto';
import type { Clock, WallMs } from '../clock.ts';
import type { Principal } from '../exchange.ts';
import { externalSubjectCharsMax, tokenIdCharsMax } from '../limits.ts';
import { type PermissionRules, permissionsFrom } from './claim-permissions.ts';
import { invalid, requireClaims, requireTimes } from './claims.ts';
import type { CompactJwt } from './compact-jwt.ts';
import type { Credential, Verified } from './credential.ts';
import type { IssuerKeys } from './issuer-keys.ts';
import { isSigned, type PublicKeyAlgorithm } from './jws.ts';
import type { VerificationKey } from './key-set.ts';

export interface IssuerSettings {
  /** Starts the subjects of all its tokens; its own, so that no issuer can name another's. */
  readonly name: string;
  /** As `iss` has it, to the letter. */
  readonly issuer: string;
  /** A token has to be for one of these. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly PublicKeyAlgorithm[];
  /** Media types in lower case, without `application/`; `absent` is a token without `typ`. */
  readonly types: ReadonlySet<string>;
  readonly leewayMs: number;
  readonly permissions: PermissionRules;
}

export class Issuer {
  readonly #settings: IssuerSettings;
  readonly #keys: IssuerKeys;
  readonly #clock: Clock;

  constructor(settings: IssuerSettings, keys: IssuerKeys, clock: Clock) {
    this.#settings = settings;
    this.#keys = keys;
    this.#clock = clock;
  }

  /** @throws Refusal `invalid_credential` with its reason */
  async verify(
    { text, authType }: Credential,
    { header, payload, signature }: CompactJwt,
  ): Promise<Verified> {
    const algorithm = this.#algorithmOf(header);
    if (signature.length === 0) throw invalid('bad_signature');
    // Taken before the keys are: if others come meanwhile, this is not believed for longer than once.
    const { version } = this.#keys;
    await this.#requireSigned(text, await this.#keysFor(header, algorithm), algorithm);
    const principal = this.#principalOf(payload, authType);
    return {
      principal,
      endsAt: (Number(payload.exp) * 1000 + this.#settings.leewayMs) as WallMs,
      holds: () => this.#keys.version === version,
    };
  }

  #principalOf(payload: CompactJwt['payload'], authType: Credential['authType']): Principal {
    const { name, permissions } = this.#settings;
    const subject = `${name}:${this.#subjectOf(payload)}`;
    const principal = {
      kind: 'external',
      subject,
      authType,
      permissions: permissionsFrom(payload, permissions),
    } as const;
    const tokenId = tokenIdOf(payload.jti);
    return tokenId === undefined ? principal : { ...principal, tokenId };
  }

  /**
   * Everything the header decides before any key is looked for. Links and keys in it (`jku`, `x5u`, `jwk`, `x5c`) are
   * not looked at: some issuers send them, and none is believed (attack 24).
   */
  #algorithmOf(header: CompactJwt['header']): PublicKeyAlgorithm {
    const { algorithms, types } = this.#settings;
    const algorithm = algorithms.find((one) => one === header.alg);
    if (algorithm === undefined) throw invalid('wrong_algorithm');
    if (!types.has(typeOf(header.typ))) throw invalid('wrong_type');
    // No extension is understood here, so none may be demanded (RFC 7515 §4.1.11, RFC 7797).
    if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) throw invalid('malformed');
    return algorithm;
  }

  async #keysFor(
    header: CompactJwt['header'],
    algorithm: PublicKeyAlgorithm,
  ): Promise<readonly VerificationKey[]> {
    const { kid } = header;
    if (kid !== undefined && typeof kid !== 'string') throw invalid('malformed');
    const keys = await this.#keys.findOrAsk(kid, algorithm);
    if (keys.length > 0) return keys;
    throw invalid(this.#keys.known ? 'unknown_key' : 'issuer_unavailable');
  }

  /** Two keys can have one `kid`; each is tried, and there are few (`keyCandidatesMax`). */
  async #requireSigned(
    text: string,
    keys: readonly VerificationKey[],
    algorithm: PublicKeyAlgorithm,
  ): Promise<void> {
    for (const { key } of keys) if (await isSigned(text, key, algorithm)) return;
    throw invalid('bad_signature');
  }

  /** Every claim that decides whether the token is for us, now; the `sub` of one that is. */
  #subjectOf(payload: CompactJwt['payload']): string {
    const { issuer, audiences, leewayMs } = this.#settings;
    requireClaims(payload, ['iss', 'aud', 'sub', 'exp']);
    // It chose the verifier; here it is compared again, for the choice is nobody's proof.
    if (payload.iss !== issuer) throw invalid('wrong_issuer');
    requireAudience(payload.aud, audiences);
    requireTimes(payload, { expMs: leewayMs, aheadMs: leewayMs }, this.#clock.wallMs());
    const { sub } = payload;
    if (!isSubject(sub)) throw invalid('malformed');
    return sub;
  }
}

/** `at+jwt` and `application/at+jwt` are one, in any case (RFC 7515 §4.1.9). */
function typeOf(typ: unknown): string {
  if (typ === undefined) return 'absent';
  const name = typeof typ === 'string' ? typeName(typ) : 'absent';
  if (name === 'absent') throw invalid('wrong_type');
  return name;
}

/** A media type as types are compared here. */
export function typeName(typ: string): string {
  return typ.toLowerCase().replace(/^application\/(?=[^/]+$)/, '');
}

function requireAudience(aud: unknown, accepted: readonly string[]): void {
  const given: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (!given.every((one) => typeof one === 'string')) throw invalid('malformed');
  if (!given.some((one) => accepted.includes(one))) throw invalid('wrong_audience');
}

/** It goes into a header, percent-encoded, and into the log: half a surrogate pair can go into neither. */
function isSubject(sub: unknown): sub is string {
  return (
    typeof sub === 'string' &&
    /^\P{Cc}+$/u.test(sub) &&
    sub.length <= externalSubjectCharsMax &&
    sub.isWellFormed()
  );
}

/** As it is where it can stand in a log, else a hash of it; a token without one has none. */
function tokenIdOf(jti: unknown): string | undefined {
  if (jti === undefined) return undefined;
  if (typeof jti !== 'string') throw invalid('malformed');
  if (jti.length <= tokenIdCharsMax && /^[\x21-\x7e]+$/.test(jti)) return jti;
  return `sha256:${createHash('sha256').update(jti).digest('base64url')}`;
}
