/** Turns what a caller presents into a principal: first what costs nothing, then the work. */
import type { Clock, WallMs } from '../clock.ts';
import { readApiKey } from '../credentials/api-key.ts';
import { requireCompactForm } from '../credentials/compact-jwt.ts';
import type { Credential, CredentialVerifier, ReadCredential, Verified } from '../credentials/credential.ts';
import type { Tokens } from '../credentials/tokens.ts';
import { never } from '../credentials/verified.ts';
import type { Principal } from '../exchange.ts';
import { requireOwnerUsable } from './grants.ts';
import type { Keys } from './keys.ts';
import type { Sessions } from './sessions.ts';
import { parseSubject, permissionsOf, subjectText, timeOf, timeText } from './subject.ts';
import type { Time } from './tables.ts';

export interface VerifierDeps {
  readonly keys: Keys;
  readonly sessions: Sessions;
  readonly tokens: Tokens;
  readonly clock: Clock;
}

export class Verifier implements CredentialVerifier {
  readonly #deps: VerifierDeps;

  constructor(deps: VerifierDeps) {
    this.#deps = deps;
  }

  read(credential: Credential): ReadCredential {
    const { prefix } = this.#deps.keys;
    if (credential.authType === 'ApiKey' || credential.text.startsWith(prefix)) {
      const { id } = readApiKey(prefix, credential.text);
      return { credentialId: id, verify: () => this.#verifyKey(credential) };
    }
    requireCompactForm(credential.text);
    return { credentialId: undefined, verify: () => this.#verifyToken(credential) };
  }

  async #verifyKey({ text, authType }: Credential): Promise<Verified> {
    const { keys } = this.#deps;
    const { row, endsAt } = await keys.authenticate(text);
    const { id } = row;
    const subject = subjectText({ kind: 'key', id });
    return {
      principal: {
        kind: 'key',
        subject,
        authType,
        permissions: permissionsOf(row),
        keyId: id,
        ...ownedBy(row.owner_id),
      },
      endsAt: endOf(endsAt),
      used: () => keys.noteUse(id),
    };
  }

  /** The token only names the session; what its owner may do is read from the database. */
  async #verifyToken({ text, authType }: Credential): Promise<Verified> {
    const { sessions, tokens, clock } = this.#deps;
    const { subject, sessionId, expiresAt, holds } = await tokens.verifyAccess(text);
    const { kind, id } = parseSubject(subject);
    const owner = await sessions.owner(sessionId, { kind, id });
    requireOwnerUsable(owner, timeText(clock.wallMs()));
    const principal = { kind, subject, authType, permissions: permissionsOf(owner), sessionId };
    return {
      principal: kind === 'key' ? { ...principal, keyId: id, ...ownedBy(owner.key_owner_id) } : principal,
      // A token ends no later than its session, as `Grants` makes them.
      endsAt: Math.min(expiresAt, endOf(owner.key_expires_at)) as WallMs,
      holds,
    };
  }
}

function endOf(time: Time | null): WallMs {
  return time === null ? never : timeOf(time);
}

/** Whose key it is, where it is somebody's. */
function ownedBy(userId: string | null): Pick<Principal, 'owner'> {
  return userId === null ? {} : { owner: subjectText({ kind: 'user', id: userId }) };
}
