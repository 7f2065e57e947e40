/**
 * Keys that the design names and this version does not have. Whoever writes one is told so: a limit or a check
 * that an operator believes in must never be skipped in silence.
 */
import type { Path } from './problem.ts';

/** Dotted path → what to do instead. */
const instead: Readonly<Record<string, string>> = {
  'listen.tls': 'Remove it, and end TLS in front of the gateway.',
};

/** What to do instead of a key that is planned but not here; `undefined` for any other key. */
export function notYet(path: Path): string | undefined {
  const key = path.join('.');
  return Object.hasOwn(instead, key) ? instead[key] : undefined;
}
