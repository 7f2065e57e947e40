import t from 'tap';
import { isReadAlike, objects, type TextRule } from '../../src/inspection/rules.ts';

const found: ReadonlyArray<readonly [TextRule, string, ...string[]]> = [
  ['control', 'NUL', 'a\0b'],
  ['control', 'an escape sequence', '\u001b[31mred'],
  ['control', 'DEL', '\u007f'],
  ['control', 'C1', '\u009b31m', '\u0085'],
  ['control', 'Unicode line ends', '\u2028', '\u2029'],
  ['bidi', 'Trojan Source: embeddings', '\u202aa', '\u202ba', '\u202ca'],
  ['bidi', 'Trojan Source: overrides', '\u202da', 'admin\u202e'],
  ['bidi', 'Trojan Source: isolates', '\u2066a', '\u2067a', '\u2068a', '\u2069a'],
  ['invisible', 'a space of no width', 'ad\u200bmin'],
  ['invisible', 'a byte-order mark in the middle', 'a\ufeffb'],
  ['invisible', 'a soft hyphen', 'ad\u00admin'],
  ['invisible', 'a word joiner', 'a\u2060b'],
  ['invisible', 'Hangul fillers', '\u3164', '\uffa0', '\u115f'],
  ['invisible', 'tag characters, which models read', 'x\u{e0069}\u{e0067}\u{e006e}'],
  ['invisible', 'hidden bytes in variation selectors', 'x\ufe01\ufe02', 'x\u{e0101}\u{e0102}'],
  ['invisible', 'joiners in a row', 'a\u200d\u200c\u200db'],
  ['script', 'markup', '<script>'],
];
for (const [rule, name, ...texts] of found)
  t.test(`${rule} finds ${name}`, async (t) => {
    for (const text of texts) t.ok(objects(rule, text), JSON.stringify(text));
  });

for (const text of [
  'line one\nline two\r\n\ttabbed',
  'Grüße, 你好, שלום, مرحبا',
  'می\u200cخواهم',
  'שלום\u200f!',
  '👨‍👩‍👧 ❤️‍🔥 🏳️‍⚧️ ✔︎',
  '葛\u{e0100}',
  "O'Reilly <3 SELECT",
])
  t.test(`no rule objects to ${JSON.stringify(text)}`, async (t) => {
    for (const rule of ['control', 'bidi', 'invisible', 'script'] as const)
      t.notOk(objects(rule, text), rule);
  });

for (const literal of [
  '0',
  '-0',
  '1',
  '-1.5',
  '1e2',
  '1E+20',
  '0.1',
  '0e400',
  '9007199254740991',
  '-9007199254740991',
  '5e-324',
  '1.7976931348623157e308',
])
  t.test(`${literal} is read alike`, async (t) => {
    t.ok(isReadAlike(literal));
  });

for (const literal of [
  '1e400',
  '-1e400',
  '1e-400',
  '9007199254740993',
  '9007199254740992',
  '-9007199254740992',
  '1'.repeat(30),
  `0.${'1'.repeat(70)}`,
])
  t.test(`${literal} is not`, async (t) => {
    t.notOk(isReadAlike(literal));
  });

t.test(
  'attack 36: rows of what passes by ones and twos cost no more than a small multiple of plain text',
  async (t) => {
    const costMs = (text: string) => {
      const runs = Array.from({ length: 5 }, () => {
        const before = process.cpuUsage();
        for (const rule of ['control', 'bidi', 'invisible'] as const) objects(rule, text);
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1_000;
      });
      return Math.min(...runs);
    };
    const plainMs = Math.max(costMs('plain text ü '.repeat(20_000)), 1);
    for (const unit of ['a\u200d\u200d', 'a\ufe0f\u200d', 'a\u{e0100}', '\u202f', 'שלום\u200f'])
      t.ok(costMs(unit.repeat(Math.ceil(260_000 / unit.length))) < 100 * plainMs, JSON.stringify(unit));
  },
);
