/**
 * The request target, read strictly: the string that is authorized is the string that is forwarded, so whatever
 * two parsers could read differently is refused, never repaired (RFC 3986 §6, CVE-2026-33494, CVE-2026-40575).
 */
import { Refusal } from '../errors.ts';

export interface Target {
  readonly path: string;
  /** Without the `?`; empty when absent. */
  readonly query: string;
}

/** RFC 3986 `pchar` and `/`, but for `;`: servers differ on whether `/admin;x` is `/admin`. */
const pathCharacters = /^\/(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*$/;
/** Visible ASCII but `#` (which starts a fragment) and `\` (which some parsers turn into `/`). */
const queryCharacters = /^[\x21\x22\x24-\x5b\x5d-\x7e]*$/;
const dotSegment = /\/\.{1,2}(?:\/|$)/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const unsafeDecoded = /[\x00-\x1f\x7f-\x9f/\\%;?#]/;

/**
 * Splits an origin-form target of `bytesMax` bytes at most into path and query.
 * @throws `ambiguous_target`, `target_too_long`
 */
export function readTarget(target: string, bytesMax: number): Target {
  // The parser hands the target over as latin1: a character is a byte.
  if (target.length > bytesMax) throw new Refusal('target_too_long');
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? '' : target.slice(mark + 1);
  if (!pathCharacters.test(path) || !queryCharacters.test(query)) throw new Refusal('ambiguous_target');
  if (path.includes('//') || dotSegment.test(path)) throw new Refusal('ambiguous_target');
  if (path.includes('%')) checkEncoded(path);
  return { path, query };
}

/** Escapes may stand for text, never for structure: no dot, slash, backslash, `;`, `?`, `#`, control or second `%`. */
function checkEncoded(path: string): void {
  if (/%2e/i.test(path)) throw new Refusal('ambiguous_target');
  for (const segment of path.split('/')) {
    if (!segment.includes('%')) continue;
    const decoded = decodeOnce(segment);
    if (unsafeDecoded.test(decoded)) throw new Refusal('ambiguous_target');
  }
}

/** Also refuses what is not UTF-8, such as the overlong `%c0%af`. */
function decodeOnce(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refusal('ambiguous_target');
  }
}
