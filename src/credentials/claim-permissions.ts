/** What an external issuer's claims allow here. What no rule names is allowed nothing. */
import type { Permission } from '../exchange.ts';

/** One claim and what its values mean. */
interface ClaimRule {
  /** From the top of the payload down: `['realm_access', 'roles']`. A step may hold dots. */
  readonly claim: readonly string[];
  /** Value → permissions; a value that is not here means nothing. */
  readonly values: ReadonlyMap<string, readonly Permission[]>;
  /** Whether a string is words with spaces between them; else it is one value, as a user's own name may hold a space. */
  readonly isWords: boolean;
}

export interface PermissionRules {
  /** For everyone the issuer vouches for. */
  readonly grant: readonly Permission[];
  readonly claims: readonly ClaimRule[];
}

const everything: readonly Permission[] = ['create', 'read', 'update', 'delete', 'admin'];

export function permissionsFrom(
  payload: Readonly<Record<string, unknown>>,
  { grant, claims }: PermissionRules,
): ReadonlySet<Permission> {
  const mapped = claims.flatMap(({ claim, values, isWords }) =>
    valuesAt(payload, claim, isWords).flatMap((value) => values.get(value) ?? []),
  );
  return permissionsOfWords([...grant, ...mapped]);
}

/** What words of the configuration add up to; `admin` is all of them. */
export function permissionsOfWords(words: readonly Permission[]): ReadonlySet<Permission> {
  const granted = new Set(words);
  return granted.has('admin') ? new Set(everything) : granted;
}

/** A list of strings is its items as they are; a string is itself, or its words, as in `scope` (RFC 6749 §3.3). */
function valuesAt(payload: unknown, path: readonly string[], isWords: boolean): readonly string[] {
  let value = payload;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, step))
      return [];
    value = Reflect.get(value, step);
  }
  if (typeof value === 'string') return isWords ? value.split(' ') : [value];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}
