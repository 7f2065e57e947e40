/** What runs script in a page that shows it carelessly, and text that only looks a little like it. */
import fc from 'fast-check';
import t from 'tap';
import { runsScript } from '../../src/inspection/script.ts';

for (const text of [
  '<script>alert(1)</script>',
  '<ScRiPt src=//evil>',
  '<script',
  '</script><b>',
  '<svg:script>',
  '<svg/onload=alert(1)>',
  '<svg\nonload\n=\nalert(1)>',
  '<img src=x onerror=alert(1)//',
  '<img src="x"onerror=alert(1)>',
  '<img title=">" onerror=alert(1)>',
  `<style><a title="</style><img title="<b x='>' onerror=alert(1)>">`,
  '<body ONLOAD=x>',
  '<!-- --!><x onfocus=1 autofocus>',
  '<a href="javascript:alert(1)">',
  '<a href=JaVaScRiPt:alert(1)>',
  '<a href="java\tscr\nipt:alert(1)">',
  '<a href=" \u0001javascript:alert(1)">',
  '<a href="&#106;avascript:alert(1)">',
  '<a href="&#x6A;&#x61;vascript&colon;alert(1)">',
  '<a href="&#0000106avascript:alert(1)">',
  '<a href="java&Tab;script:alert(1)">',
  '<a href="java&NewLine;script:alert(1)">',
  '<iframe srcdoc="&lt;b&gt;">',
  '<iframe src="data:text/html,x">',
  '<a href="vbscript:x">',
  '<meta http-equiv=refresh content="0;url=javascript:alert(1)">',
  '<animate attributeName=href values="x;javascript:alert(1)">',
  '&lt;script&gt;alert(1)',
  '&#60script&#62',
  '&LT;img src=x onerror=alert(1)&GT;',
  '＜script＞',
  '＜ｓｃｒｉｐｔ＞',
  '<ſcript>',
  '<\u{1d4fc}\u{1d4ec}\u{1d4fb}\u{1d4f2}\u{1d4f9}\u{1d4fd}>',
  '<ⓢⓒⓡⓘⓟⓣ>',
  '<svg/ₒnload=x>',
  '<svg/onload＝x>',
  '<svg/onload\u207cx>',
  'javascript：alert(1)',
  'javascript﹕alert(1)',
  'javaſcript:alert(1)',
  '＆lt;script＆gt;',
  '&#x17f;cript&#60;&#x17f;cript>',
  '" onclick＝"x',
  '<iframe src="data:application/xhtml+xml,x">',
  '<iframe src="data:text/xml,x">',
  '" onmouseover="alert(1)',
  `' onfocus = alert(1) x='`,
  'javascript:alert(1)',
  '\u0001 java\nscript:alert(1)',
  'data:text/html,<b>',
  '[click](javascript:alert(1))',
  '[click]( <JavaScript:alert(1)>)',
  '[click]: javascript:alert(1)',
  '<javascript:alert(1)>',
])
  t.test(`finds ${JSON.stringify(text)}`, async (t) => {
    t.equal(runsScript(text), true);
  });

for (const text of [
  '',
  "O'Reilly <3 SELECT",
  "SELECT * FROM tools WHERE name = '' OR 1=1; DROP TABLE tools; --",
  'A tool about the word javascript, and why javascript is fun',
  'JavaScript: The Good Parts',
  'TypeScript and JavaScript: a comparison; see https://example.com/javascript:guide',
  'a < b and b > c, x<=y',
  'if a<3 then online = true',
  'List<String> and <b>bold</b> text, turned on = yes',
  'one = 1, only="x"',
  'AT&T, R&D, &copy; 2026, 5 &lt; 6',
  'description, transcript: of a meeting',
  'subscript: x',
  'ｗｉｄｅ ｔｅｘｔ',
  '問：Ａ＝Ｂ、Ｃ＆Ｄ（１＜２）',
  '½ of x², 5 ﬁles: ™ = €',
  'an icon: data:image/png;base64,AAAA',
  '{"onload": "no markup here"}',
  '日本語のテキスト <- ok',
  '<https://example.com/a?b=c>',
])
  t.test(`passes ${JSON.stringify(text)}`, async (t) => {
    t.equal(runsScript(text), false);
  });

t.test('property: what was dressed up is found as what it is', async () => {
  const payload = fc.constantFrom(
    '<script>',
    '<svg/onload=x>',
    '<img src=x onerror=y>',
    '<a href=javascript:x>',
  );
  const spelled = payload.chain((plain) =>
    fc
      .tuple(
        ...[...plain].map((char) =>
          fc.constantFrom(
            char,
            char.toUpperCase(),
            `&#${char.charCodeAt(0)};`,
            `&#x${char.charCodeAt(0).toString(16)};`,
          ),
        ),
      )
      .map((chars) => chars.join('')),
  );
  // Text that opens no quote and no markup of its own.
  const around = fc.string({ unit: fc.constantFrom(...'abc 123.,ü') });
  fc.assert(fc.property(around, spelled, around, (before, text, after) => runsScript(before + text + after)));
});

t.test('property: prose without markup, quotes and colons always passes', async () => {
  const prose = fc.string({
    unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz 0123456789.,;()=>+-*%$#@!?'),
  });
  fc.assert(fc.property(prose, (text) => !runsScript(text)));
});

/** The least of some runs, in milliseconds of the processor: others use this machine too. */
function costMs(text: string): number {
  const runs = Array.from({ length: 5 }, () => {
    const before = process.cpuUsage();
    for (let time = 0; time < 5; time += 1) runsScript(text);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  });
  return Math.min(...runs);
}

/** Long enough that a quadratic expression would take a thousand times as long. */
const length = 200_000;
const filled = (unit: string, before = '') =>
  before + unit.repeat(Math.ceil((length - before.length) / unit.length));

t.test(
  'attack 36: bait for regular expressions costs no more than a small multiple of plain text',
  async (t) => {
    // Plain text that is looked at as closely: with a colon and an ampersand in it.
    const plainMs = Math.max(costMs(filled('plain text: R&D. ')), 1);
    for (const [name, bait] of [
      ['spaces behind a Markdown link', filled(' ', '](')],
      ['many Markdown links', filled('](  <')],
      ['spaces behind a handler', filled(' ', '<a onload')],
      ['handlers without an end', filled(' onloadx', '<a')],
      ['a long handler', filled('a', '<a on')],
      ['quotes', filled('"', '<a ')],
      ['quotes and spaces', filled('" ')],
      ['opened tags', filled('<a')],
      ['namespaces', filled('<a.', '<')],
      ['digits of an entity', filled('1', '&#')],
      ['hex digits of an entity', filled('f', '&#x')],
      ['half entities', filled('&#')],
      ['encoded brackets', filled('&lt;')],
      ['wide characters', filled('\uff1c:')],
      ['what grows when normalized', filled('\ufdfa', '<\uff1c&lt;')],
      ['spaces before a URL', filled(' ', ':')],
    ] as const) {
      const ms = costMs(bait);
      t.ok(ms < 100 * plainMs, `${name}: ${(ms / plainMs).toFixed(1)} times the work`);
    }
  },
);
