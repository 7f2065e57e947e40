import t from 'tap';
import { least, linesOf, parse } from './reading.ts';

t.test('broken syntax is told at its place, once a line, and nothing else is said', async (t) => {
  t.strictSame(linesOf(`${least}listen: { port: 1\n`), [
    '10:1 is not YAML: flow map in block collection must be sufficiently indented and end with a }. Check indentation, quotes and brackets here.',
  ]);
  t.strictSame(linesOf(`${least}listen:\n\tport: 1\n`), ['10:1 is indented with a tab. Indent with spaces.']);
  t.strictSame(linesOf(`${least}log: ]\n`), [
    '9:6 is not YAML: this does not belong here. Check indentation, quotes and brackets, here and above.',
  ]);
  t.strictSame(linesOf(`${least}log: level: info\n`), [
    '9:6 has a second `: ` on the line. Put quotes around a value that holds `: `, or start a new line, indented.',
  ]);
});

t.test('a variable without quotes inside braces gets the advice it needs', async (t) => {
  t.strictSame(linesOf(`${least}listen: { host: \${H:-127.0.0.1}, port: 1 }\n`), [
    `9:18 is not YAML. Inside { } and [ ], put quotes around a value with \${…}.`,
  ]);
});

t.test('what a broken line holds is not shown: it may be a secret', async (t) => {
  const secret = 'hunter2hunter2';
  for (const line of [
    `a: "x" ${secret}`,
    `a: |${secret}`,
    `- ${secret}\nb: ${secret}`,
    `a: "\\x${secret}"`,
    `a: !${secret} x`,
  ]) {
    const said = linesOf(`${line}\n`).join('\n');
    t.not(said, '');
    t.notMatch(said, secret);
  }
});

t.test('a key given twice is told at the second, which names the first', async (t) => {
  t.strictSame(linesOf(`${least}log: {}\nlog: {}\n`), [
    '10:1 log: is given twice, first on line 9. Remove one of the two.',
  ]);
});

t.test('one document, without tags, directives, merge keys, odd keys', async (t) => {
  t.strictSame(linesOf(`${least}---\nversion: 1\n`), [
    '9:1 starts a second document. Keep one document: remove this ---.',
  ]);
  t.strictSame(linesOf(`${least}database: !url x\n`), [
    '9:11 has a tag, which is not read here. Remove the !tag.',
  ]);
  t.strictSame(linesOf(`%FOO\n---\n${least}`), [
    '1:1 has a directive that is not read here. Remove the line with the %.',
  ]);
  t.strictSame(linesOf(`${least}log:\n  <<: {}\n`), [
    '10:3 log."<<": merge keys are not read here. Write the keys out, or use an alias as a value.',
  ]);
  t.strictSame(linesOf(`${least}log: { [a]: b }\n`), [
    '9:8 log: has a key that is not a plain word. Write a key as a word before the colon.',
  ]);
  t.strictSame(linesOf(`${least}__proto__: { version: 2 }\n`), ['9:1 __proto__: is not a key. Remove it.']);
});

t.test('an alias is its anchor; one that leads nowhere or to itself is a problem', async (t) => {
  const { config } = parse(`${least}operations: { host: &h 127.0.0.2 }\nlisten: { host: *h }\n`);
  t.equal(config.listen.host, '127.0.0.2');
  t.strictSame(linesOf(`${least}listen: { host: *h }\n`), [
    '9:17 listen.host: there is no &h before this alias. Put quotes around a value that starts with *.',
  ]);
  t.strictSame(linesOf(`${least}routes: &r [*r]\n`), [
    '9:12 routes.0: is nested too deeply. Check the indentation and the aliases (*name).',
  ]);
});

t.test('CWE-776: aliases of aliases are refused before they fill the memory', async (t) => {
  const levels = Array.from({ length: 30 }, (_, level) => `  - &a${level + 1} [*a${level}, *a${level}]`).join(
    '\n',
  );
  const said = linesOf(`${least}routes:\n  - &a0 [x, x]\n${levels}\n`);
  t.match(said.join('\n'), /more than 100000 values/);
});

t.test('CWE-674: deep nesting is refused', async (t) => {
  t.match(linesOf(`${least}routes: ${'['.repeat(50)}${']'.repeat(50)}\n`).join('\n'), /nested too deeply/);
  t.match(linesOf('['.repeat(20_000)).join('\n'), /nested too deeply/);
});

t.test('an empty file, one that is no map, one too large, one that is not UTF-8', async (t) => {
  t.strictSame(linesOf(''), [
    '1:1 the file is empty. Start from the gateway.yaml that ships with Portcullis.',
  ]);
  t.match(linesOf('- a\n'), [/^1:1 must be a map with the keys version, listen, /]);
  t.strictSame(linesOf('#'.repeat(2 ** 20 + 1)), [
    '1:1 is larger than 1 MiB. Use fewer routes, ended with /*.',
  ]);
  t.strictSame(linesOf(Uint8Array.of(0x61, 0xff)), ['1:1 is not UTF-8 text. Save it as UTF-8.']);
});

t.test('a byte order mark does not move the columns', async (t) => {
  t.match(linesOf('\ufeffversio: 1\n'), [
    /^1:1 /,
    /^1:1 /,
    /^1:1 /,
    /^1:1 versio: is not a key here. Did you mean version\?/,
  ]);
});

t.test('CWE-1333: a line that never ends is refused in linear time', { timeout: 20_000 }, async (t) => {
  for (const unit of ['[', '{', '"', "'", `\${`, `\${A:-`, `\${A`])
    t.not(linesOf(`a: ${unit.repeat(50_000)}`).length, 0);
  t.equal(linesOf('a: ]\n'.repeat(50_000)).length, 20);
});
