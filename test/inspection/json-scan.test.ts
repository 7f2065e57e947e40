import fc from 'fast-check';
import t from 'tap';
import { JsonFault, scanJson } from '../../src/inspection/json-scan.ts';

const wide = { depth: 64, keys: 10_000, elements: 10_000, stringChars: 100_000 };

function faultOf(text: string, bounds = wide): JsonFault | undefined {
  try {
    scanJson(text, bounds);
    return undefined;
  } catch (error) {
    if (error instanceof JsonFault) return error;
    throw error;
  }
}

t.test('the reader sees each string, name and number with its place', async (t) => {
  const seen: unknown[] = [];
  scanJson('{"a": [1, {"b/c": "x\\n", "~": -0.5e3}, "y"], "d": {"e": true}, "f": "z"}', wide, {
    text: (value, isName, place) => seen.push([isName ? 'name' : 'text', value, place.pointer()]),
    number: (literal, place) => seen.push([literal, place.pointer()]),
  });
  t.strictSame(seen, [
    ['name', 'a', ''],
    ['1', '/a/0'],
    ['name', 'b/c', '/a/1'],
    ['text', 'x\n', '/a/1/b~1c'],
    ['name', '~', '/a/1'],
    ['-0.5e3', '/a/1/~0'],
    ['text', 'y', '/a/2'],
    ['name', 'd', ''],
    ['name', 'e', '/d'],
    ['name', 'f', ''],
    ['text', 'z', '/f'],
  ]);
});

t.test('property: it sees the strings and numbers that JSON.parse gives', async (t) => {
  fc.assert(
    fc.property(
      fc.jsonValue({ maxDepth: 6, stringUnit: 'grapheme' }),
      fc.constantFrom(undefined, 1),
      (value, indent) => {
        const scanned: unknown[] = [];
        scanJson(JSON.stringify(value, null, indent), wide, {
          text: (text, isName) => scanned.push(isName ? `name ${text}` : text),
          number: (literal) => scanned.push(JSON.parse(literal)),
        });
        t.strictSame(scanned, leavesOf(JSON.parse(JSON.stringify(value))));
      },
    ),
    { numRuns: 300 },
  );
});

function leavesOf(value: unknown): unknown[] {
  if (typeof value === 'string' || typeof value === 'number') return [value];
  if (Array.isArray(value)) return value.flatMap(leavesOf);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, child]) => [`name ${name}`, ...leavesOf(child)]);
}

t.test('property: whatever the text is, it ends, and says nothing but a fault', async () => {
  const noise = fc.string({ unit: fc.constantFrom(...'{}[]",:\\u0001eE+-. a') });
  fc.assert(
    fc.property(noise, (text) => {
      faultOf(text);
    }),
    { numRuns: 2_000 },
  );
});

for (const [kind, text, bounds] of [
  ['depth', '[[[]]]', { ...wide, depth: 2 }],
  ['keys', '{"a":{"b":1},"c":2}', { ...wide, keys: 2 }],
  ['elements', '[[1,2],[3]]', { ...wide, elements: 3 }],
  ['elements', '[[],[],[]]', { ...wide, elements: 5 }],
  ['length', '{"a":"xxxx"}', { ...wide, stringChars: 3 }],
  ['length', '{"aaaa":1}', { ...wide, stringChars: 3 }],
  ['duplicate', '{"a":1,"b":{"a":1},"a":2}', wide],
  ['duplicate', '{"x":[{"a":1,"\\u0061":2}]}', wide],
  ['unicode', '"\\udc00"', wide],
  ['syntax', '"abc', wide],
] as const)
  t.test(`${kind}: ${text}`, async (t) => {
    t.equal(faultOf(text, bounds)?.kind, kind);
  });

t.test('what is within each bound passes', async (t) => {
  t.equal(faultOf('[[]]', { ...wide, depth: 2 }), undefined);
  t.equal(faultOf('{"a":{"b":1}}', { ...wide, keys: 2 }), undefined);
  t.equal(faultOf('[[1,2]]', { ...wide, elements: 3 }), undefined);
  t.equal(faultOf('{"a":"\\u0078xx"}', { ...wide, stringChars: 3 }), undefined);
});

t.test('a fault names where it is, within a bound, and never what stands there', async (t) => {
  t.equal(faultOf('{"a":[{"b":1,"b":2}]}')?.message, 'The object at /a/0 has a key twice.');
  const long = `{"${'k'.repeat(10_000)}":"secret\\ud800"}`;
  t.notMatch(faultOf(long)?.message, /secret/);
  t.ok((faultOf(long)?.message.length ?? 0) < 400);
});

/** The least of some runs, in milliseconds of the processor. */
function costMs(text: string): number {
  const runs = Array.from({ length: 5 }, () => {
    const before = process.cpuUsage();
    for (let time = 0; time < 5; time += 1)
      faultOf(text, { depth: 64, keys: 1e6, elements: 1e6, stringChars: 1e6 });
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  });
  return Math.min(...runs);
}

t.test('attack 36: no form of text costs a hundred times what plain text of its length does', async (t) => {
  const bytes = 200_000;
  const filled = (unit: string) => unit.repeat(Math.ceil(bytes / unit.length));
  const plainMs = Math.max(costMs(`"${filled('plain text. ')}"`), 0.5);
  for (const [name, text] of [
    ['100,000 levels', '['.repeat(100_000)],
    ['open and close', filled('[]')],
    ['many keys', `{${Array.from({ length: bytes / 10 }, (_, at) => `"${at}":0`).join()}}`],
    ['keys in escapes', `{${Array.from({ length: bytes / 20 }, (_, at) => `"\\u0061${at}":0`).join()}}`],
    ['many elements', `[${filled('0,')}0]`],
    ['backslashes', `"${filled('\\\\')}"`],
    ['quotes', filled('"')],
    ['one long number', filled('1')],
    ['many numbers', `[${filled('-1e9,')}0]`],
  ] as const) {
    const ms = costMs(text);
    t.ok(ms < 100 * plainMs, `${name}: ${(ms / plainMs).toFixed(1)} times the work`);
  }
});
