/** Tokens for a session: given at login, exchanged at refresh. */
import type { Clock, WallMs } from '../clock.ts';
import type { IssuedToken, TokenGrant, Tokens } from '../credentials/tokens.ts';
import { requireUsable } from './keys.ts';
import type { SessionOwner } from './session-rows.ts';
import { type Holder, type Sessions, subjectOf } from './sessions.ts';
import { parseSubject, permissionsOf, subjectText, timeOf, timeText } from './subject.ts';
import type { Time } from './tables.ts';

export interface Grant {
  readonly access: IssuedToken;
  readonly refresh: IssuedToken;
  /** `user:<id>` or `key:<id>`. */
  readonly subject: string;
  readonly sessionId: string;
}

export interface GrantsDeps {
  readonly tokens: Tokens;
  readonly sessions: Sessions;
  readonly clock: Clock;
  readonly accessLifetimeMs: number;
  readonly refreshLifetimeMs: number;
}

type Claims = Omit<TokenGrant, 'expiresAt'>;

export class Grants {
  readonly #deps: GrantsDeps;

  constructor(deps: GrantsDeps) {
    this.#deps = deps;
  }

  /** Opens a session and gives its first tokens. @throws Refusal `invalid_credential` with reason `revoked` */
  async begin(holder: Holder): Promise<Grant> {
    const { tokens, sessions } = this.#deps;
    const sessionId = tokens.newId();
    const refreshId = tokens.newId();
    const sessionEnd = this.#sessionEnd(holder.kind === 'key' ? holder.held.endsAt : null);
    await sessions.begin(holder, sessionId, refreshId, sessionEnd);
    const row = holder.kind === 'key' ? holder.held.row : holder.row;
    const subject = subjectText(subjectOf(holder));
    return this.#issue({ subject, sessionId, scope: scopeOf(row) }, refreshId, sessionEnd);
  }

  /**
   * Exchanges a refresh token for new tokens; it works once.
   * @param note told whose token it is, so that a refusal can be recorded against its session
   * @throws Refusal `invalid_credential` with its reason: one used before ends its whole session (`reused`)
   */
  async refresh(text: string, note?: (whose: Pick<Grant, 'subject' | 'sessionId'>) => void): Promise<Grant> {
    const { tokens, sessions, clock } = this.#deps;
    const claims = await tokens.verifyRefresh(text);
    note?.(claims);
    const owner = await sessions.owner(claims.sessionId, parseSubject(claims.subject));
    requireOwnerUsable(owner, timeText(clock.wallMs()));
    const refreshId = tokens.newId();
    const sessionEnd = this.#sessionEnd(owner.key_expires_at);
    await sessions.rotate(claims.sessionId, claims.id, refreshId, sessionEnd);
    const { subject, sessionId } = claims;
    return this.#issue({ subject, sessionId, scope: scopeOf(owner) }, refreshId, sessionEnd);
  }

  async #issue(claims: Claims, refreshId: string, sessionEnd: WallMs): Promise<Grant> {
    const { tokens, clock, accessLifetimeMs } = this.#deps;
    const accessEnd = Math.min(clock.wallMs() + accessLifetimeMs, sessionEnd) as WallMs;
    const [access, refresh] = await Promise.all([
      tokens.issueAccess({ ...claims, expiresAt: accessEnd }),
      tokens.issueRefresh({ ...claims, expiresAt: sessionEnd }, refreshId),
    ]);
    return { access, refresh, subject: claims.subject, sessionId: claims.sessionId };
  }

  /** A session lives on while it is refreshed, but never outlives the key's secret it was made from. */
  #sessionEnd(keyExpiresAt: Time | null): WallMs {
    const end = this.#deps.clock.wallMs() + this.#deps.refreshLifetimeMs;
    return Math.min(end, keyExpiresAt === null ? end : timeOf(keyExpiresAt)) as WallMs;
  }
}

/** What a session's owner must be at this moment for its tokens to work. */
export function requireOwnerUsable(owner: SessionOwner, now: Time): void {
  const { is_active, owner_is_active, key_expires_at: expires_at } = owner;
  requireUsable({ is_active: is_active ?? 0, owner_is_active, expires_at }, now);
}

function scopeOf(row: Parameters<typeof permissionsOf>[0]): string {
  return [...permissionsOf(row)].join(' ');
}
