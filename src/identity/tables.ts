/** The tables of users, keys and sessions, in types that SQLite and PostgreSQL both have. */
import type { SealedKey } from '../credentials/key-hmac.ts';

/** 0 or 1: SQLite has no boolean. */
export type Flag = 0 | 1;
/** ISO 8601 in UTC with milliseconds (`2026-01-02T03:04:05.678Z`), which sorts as text. */
export type Time = string;

/** What a user or key may do, as columns. */
export interface PermissionColumns {
  can_create: Flag;
  can_read: Flag;
  can_update: Flag;
  can_delete: Flag;
}

export interface UserRow extends PermissionColumns {
  id: string;
  /** As it was written. */
  username: string;
  /** In lower case, unique. */
  username_key: string;
  email: string | null;
  password_hash: string;
  is_admin: Flag;
  is_active: Flag;
  created_at: Time;
  updated_at: Time;
  last_login_at: Time | null;
}

export interface KeyRow extends PermissionColumns, SealedKey {
  /** The public id inside the key's text. */
  id: string;
  name: string;
  description: string | null;
  is_active: Flag;
  expires_at: Time | null;
  created_at: Time;
  updated_at: Time;
  /** The subject of who made it; no reference, since a command line can make one too. */
  created_by: string;
  /** The user that it belongs to, with whom it is disabled and goes; null for a key by itself. */
  owner_id: string | null;
  last_used_at: Time | null;
  rotated_at: Time | null;
  /** The secret before the last rotation, sealed, where that rotation let it overlap. */
  previous_hmac: string | null;
  previous_hmac_key: string | null;
  /** The previous secret works before this moment. */
  previous_until: Time | null;
}

export interface SessionRow {
  /** `sid`. */
  id: string;
  /** One of the two is set; the session goes with its owner. */
  user_id: string | null;
  key_id: string | null;
  /** Which of its key's secrets opened it, sealed as in `api_keys`; it lives no longer than that secret. */
  key_hmac: string | null;
  /** `jti` of the one refresh token that still works. */
  refresh_jti: string;
  created_at: Time;
  refreshed_at: Time;
  /** When its refresh token expires; the row may go then. */
  expires_at: Time;
  ended_at: Time | null;
  ended_reason: EndReason | null;
}

/** A username that too many wrong passwords were tried for: from one address, or (`''`) from all together. */
export interface LoginLockRow {
  /** Both of what follows. */
  id: string;
  /** SHA-256 of the folded name, base64url: what people type there is sometimes a password. */
  name_digest: string;
  /** As buckets are kept by: an IPv4 address, an IPv6 /64, or empty for all. */
  address: string;
  /** How many times in a row; each doubles the time. */
  level: number;
  locked_until: Time;
}

/** Where a user has logged in from: such an address need not wait while others are tried for this user. */
interface LoginAddressRow {
  /** Both of what follows. */
  id: string;
  user_id: string;
  address: string;
  /** To the day. */
  last_login_at: Time;
}

/** Why a session ended early. */
export type EndReason = 'logout' | 'reused' | 'password_changed' | 'disabled' | 'rotated';

/** One row: how many revocations there have been. See `revocation-triggers.ts`, which alone writes it. */
interface RevisionRow {
  id: number;
  /** As text from PostgreSQL. */
  value: number | string;
  /** Revocations up to this one are no longer named in `revocations`. */
  pruned: number | string;
}

/** Whose credentials were last revoked when. */
interface RevocationRow {
  /** `user:<id>` or `key:<id>`. */
  subject: string;
  revision: number | string;
  /** Unix seconds of the database's clock. */
  changed_at: number | string;
}

/** A key that assertions are signed with. */
export interface AssertionKeyRow {
  /** Its thumbprint (RFC 7638), the `kid`. */
  id: string;
  /** Its public half, as a JWK's `x`. */
  public_x: string;
  /** Its private half, encrypted under a secret that is not in the database. */
  sealed_private: string;
  /** Which secret, by its fingerprint. */
  sealed_with: string;
  created_at: Time;
  signs_from: Time;
  /** The row may go then. */
  published_until: Time;
}

export interface IdentityTables {
  users: UserRow;
  api_keys: KeyRow;
  sessions: SessionRow;
  login_locks: LoginLockRow;
  login_addresses: LoginAddressRow;
  revision: RevisionRow;
  revocations: RevocationRow;
  assertion_keys: AssertionKeyRow;
  /** One row once the first admin has been made. */
  setup: { id: number; done_at: Time };
}
