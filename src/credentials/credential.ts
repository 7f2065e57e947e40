/** What a caller presents, and what turns it into a principal. */
import type { WallMs } from '../clock.ts';
import type { Principal } from '../exchange.ts';

/** A credential as it stood in the request; never logged, never put into an error. */
export interface Credential {
  /** `Authorization: Bearer` or `X-API-Key`. A Bearer may hold a token or an API key. */
  readonly authType: 'Bearer' | 'ApiKey';
  readonly text: string;
}

/** Who a credential stands for, and how long that may be believed without another look. */
export interface Verified {
  readonly principal: Principal;
  /** From this moment on it is not accepted, whatever else is known; `never` where it has no end of its own. */
  readonly endsAt: WallMs;
  /** Whether the key that proved its signature is still one of those that do. */
  readonly holds?: () => boolean;
  /** Told of every use but the first. */
  readonly used?: () => void;
}

/** A credential whose form has been checked, before any work that costs. */
export interface ReadCredential {
  /** Safe to log: an API key's public id; absent for a token that is not verified yet. */
  readonly credentialId: string | undefined;
  /** Does the work that costs: a look-up, an HMAC, a signature. Throws `invalid_credential`, or `store_unavailable`. */
  verify(): Promise<Verified>;
}

export interface CredentialVerifier {
  /** Only what costs nothing: length, characters, checksum. Throws `invalid_credential` with its reason. */
  read(credential: Credential): ReadCredential;
}
