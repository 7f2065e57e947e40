import fc from 'fast-check';
import t from 'tap';
import { Refusal } from '../../src/errors.ts';
import { readTarget } from '../../src/http/target.ts';

const targetCharsMax = 8_192;

const ambiguous = [
  // Attack 11: out of a folder, in every spelling.
  '/tools/../admin/users',
  '/tools/./admin',
  '/tools/..',
  '/..',
  '/.',
  '/../admin',
  '/tools/%2e%2e/admin',
  '/tools/%2E%2e%2fadmin',
  '/tools/.%2e/admin',
  '/tools/%2e',
  '/tools/%2e%2e%2fadmin',
  '/tools/..%2fadmin',
  '/tools%2fadmin',
  '/tools%2Fadmin',
  '/tools/..\\admin',
  '/tools\\..\\admin',
  '/tools/..%5cadmin',
  '/tools%5Cadmin',
  '/tools/..;/admin',
  '/tools/..;x=1/admin',
  '/tools/.;/admin',
  '/tools/..;',
  '/admin;x',
  '/admin%3bx',
  '/admin%3F',
  '/admin%23x',
  '/tools/..%3b/admin',
  '/tools/..%3Bx/admin',
  '/tools/.%3b',
  // Attack 12: another host.
  '//evil.example/admin',
  '//',
  '/tools//x',
  '/tools/x//',
  'http://evil.example/admin',
  'https://evil.example/',
  'evil.example:443',
  // Attack 13: what decoders disagree on.
  '/tools/%00',
  '/tools/x%00.json',
  '/tools/%c0%af',
  '/tools/%c0%ae%c0%ae/admin',
  '/tools/%e0%80%af',
  '/tools/%252e%252e/admin',
  '/tools/%252fadmin',
  '/tools/%25',
  '/tools/%0d%0aSet-Cookie:x',
  '/tools/%09',
  '/tools/%7f',
  '/tools/%1b%5b31m',
  '/tools/%c2%85',
  '/tools/%c2%9b',
  '/tools/%ff',
  '/tools/%ed%a0%80',
  '/tools/%',
  '/tools/%2',
  '/tools/%zz',
  '/tools/%u002e',
  // Attack 14: a fragment hides the path from one parser.
  '/admin#/health',
  '/admin?x=1#/health',
  '#',
  // Neither path nor query.
  '*',
  '',
  'tools',
  '?x=1',
  '/tools x',
  '/tools\t',
  '/tools\u00e9',
  '/tools?q=\u00e9',
  '/tools?q=a\\b',
  '/tools?q=a b',
  '/tools?q=\u0000',
  '/tools/"x"',
  '/tools/<x>',
  '/tools/{x}',
  '/tools/x|y',
  '/tools/x^y',
  '/tools/x`y',
  '/tools/[x]',
  '/tools/a;v=1',
  '/tools/a%3Bv',
  '/tools/%3f',
  '/tools/%23',
];

for (const target of ambiguous) {
  t.test(`refuses ${JSON.stringify(target)}`, async (t) => {
    t.throws(() => readTarget(target, targetCharsMax), { code: 'ambiguous_target', status: 400 });
  });
}

const legitimate = [
  '/',
  '/tools',
  '/tools/',
  '/tools?page=1&page_size=20',
  '/tools/search?q=a%20b+c',
  '/tools/..x',
  '/tools/x..',
  '/tools/...',
  '/tools/.well-known',
  '/tools/a.b',
  '/tools/a,v=1',
  '/tools/user:1',
  '/tools/user%3A1',
  '/tools/%E2%82%AC',
  '/tools/caf%c3%a9',
  '/tools/%20',
  "/tools/!$&'()*+,=:@-._~",
  '/tools?next=http://x/../y//z',
  '/tools?x=%2e%2e%2f%00',
  '/tools??',
  '/tools?',
];

for (const target of legitimate) {
  t.test(`takes ${target} as it is`, async (t) => {
    const mark = target.indexOf('?');
    t.strictSame(readTarget(target, targetCharsMax), {
      path: mark === -1 ? target : target.slice(0, mark),
      query: mark === -1 ? '' : target.slice(mark + 1),
    });
  });
}

t.test('a target over the bound is 414', async (t) => {
  t.throws(() => readTarget(`/${'a'.repeat(targetCharsMax)}`, targetCharsMax), {
    code: 'target_too_long',
    status: 414,
  });
});

t.test('a target at the bound passes', async (t) => {
  t.doesNotThrow(() => readTarget(`/${'a'.repeat(targetCharsMax - 1)}`, targetCharsMax));
});

/** Targets made of what attacks are made of, some of which are well-formed. */
const pieces = [
  '/',
  '.',
  '..',
  ';',
  '%2e',
  '%2F',
  '%5c',
  '%25',
  '%3b',
  '%00',
  '%c2%85',
  '%E2%82%AC',
  '\\',
  '?',
  '#',
  '//',
  'tools',
  'a',
  ':',
  '@',
  '%41',
  '%',
  ' ',
];
const crafted = fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => `/${parts.join('')}`);
const arbitrary = fc.string({ unit: 'binary-ascii', maxLength: 40 }).map((text) => `/${text}`);

/** What is accepted of many, so that a property says something of targets that pass. */
function forEachAccepted(holds: (target: string, path: string, query: string) => boolean): void {
  fc.assert(
    fc.property(fc.oneof(crafted, arbitrary), (target) => {
      const read = accepted(target);
      fc.pre(read !== undefined);
      return read === undefined || holds(target, read.path, read.query);
    }),
    { numRuns: 3_000, maxSkipsPerRun: 200 },
  );
}

function accepted(target: string) {
  try {
    return readTarget(target, targetCharsMax);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

t.test('property: path and query together are the target, byte for byte', async () => {
  forEachAccepted((target, path, query) => target === `${path}?${query}` || target === path);
});

t.test('property: decoding an accepted path once changes nothing of its structure', async () => {
  forEachAccepted((_, path) => {
    const once = decodeURIComponent(path);
    return once.split('/').length === path.split('/').length && !once.includes('\\');
  });
});

t.test('property: decoding an accepted path once yields no dot segment, parameters or not', async () => {
  forEachAccepted((_, path) =>
    decodeURIComponent(path)
      .split('/')
      .every((segment) => !/^\.{1,2}(?:;|$)/.test(segment)),
  );
});

t.test(
  'property: decoding an accepted path once yields no control character and no further escape',
  async () => {
    forEachAccepted((_, path) => !/\p{Cc}|%/u.test(decodeURIComponent(path)));
  },
);
