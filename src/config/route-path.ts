/**
 * What a route's path may look like. A request whose target two parsers could read differently is refused before
 * it is matched, so a route with such a path would never be reached: an operator's mistake, told at load.
 */
const pathCharsMax = 1_024;

interface PathRule {
  readonly broken: (path: string) => boolean;
  readonly message: string;
  readonly hint: string;
}

const rules: readonly PathRule[] = [
  {
    broken: (path) => !path.startsWith('/'),
    message: 'does not start with /',
    hint: 'Write a path such as /tools or /tools/*.',
  },
  {
    broken: (path) => path.length > pathCharsMax,
    message: `is longer than ${pathCharsMax} characters`,
    hint: 'Write its beginning, and end it with /*.',
  },
  {
    broken: (path) => /[?#]/.test(path),
    message: 'has a query or a fragment, which are no part of a path',
    hint: 'Write the path without ? and # and what follows them.',
  },
  {
    broken: (path) => path.includes('\\'),
    message: 'has a backslash, and such requests are refused',
    hint: 'Write /.',
  },
  {
    broken: (path) => path.includes('//'),
    message: 'has an empty segment (//), and such requests are refused',
    hint: 'Write a single /.',
  },
  {
    broken: (path) => /\/\.{1,2}(?:\/|$)/.test(path),
    message: 'has a segment . or .., and such requests are refused',
    hint: 'Write the path that is meant.',
  },
  {
    broken: (path) => path.includes(';'),
    message: 'has a ; and such requests are refused, since servers differ on what follows it',
    hint: 'Write the path without it.',
  },
  {
    broken: (path) => path.includes('%'),
    message: 'has a percent-escape, which is never matched',
    hint: 'Write the part before it, and end it with /*.',
  },
  {
    broken: (path) => /[:{}<>]/.test(path),
    message: 'has a parameter; the part that varies is not named here',
    hint: 'Write the part before it, and end it with /*.',
  },
  {
    broken: (path) => /\*/.test(path.replace(/\/\*$/, '')),
    message: 'has a * that is not a last segment of its own',
    hint: 'Write /* at the end, as in /tools/*; it spans segments.',
  },
  {
    broken: (path) => /[^A-Za-z0-9._~!$&'()*+,=@/-]/.test(path),
    message: 'has a character that never stands in a request',
    hint: 'Write the part before it, and end it with /*.',
  },
];

/** The first thing wrong with a route's path, or `undefined`. */
export function routePathFault(path: string): Omit<PathRule, 'broken'> | undefined {
  return rules.find(({ broken }) => broken(path));
}
