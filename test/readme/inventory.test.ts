/**
 * Whatever the README tells someone to type is run by a test, or proven as far as it can be here, which that test's name
 * says. A test asks for it by name (`block('walk')`, `command('curl -f ')`), never has a copy of it; so what is claimed is
 * read from the tests themselves.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { block, command, inlineCommands, ownCommand, readmeBlocks } from '../support/readme.ts';

/** Kinds of commands of which one test runs all there are. */
const kinds: ReadonlyArray<readonly [kind: RegExp, test: string]> = [
  [ownCommand, 'test/readme/commands.test.ts'],
  [/^(?:[A-Z_]+=\S+ )*npx tap /, 'test/readme/development.test.ts'],
  [/^node test\/bench\//, 'test/readme/figures.test.ts'],
];

/** What is no command to type, though it looks like one. */
const toldOf: Readonly<Record<string, string>> = {
  'kill -9': 'something that happens to a gateway: test/integration/audit-killed.test.ts does it',
};

const tests = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.ts') && !file.endsWith('inventory.test.ts'))
  .map((file) => readFileSync(join('test', file), 'utf8'))
  .filter((text) => /from '[./]+support\/readme\.ts'/.test(text));

/** What tests ask the README for. */
const asked = (name: 'block' | 'command') =>
  tests
    .flatMap((text) => [...text.matchAll(new RegExp(`\\b${name}\\(\\s*'([^']+)'`, 'g'))])
    .map(([, text = '']) => text);

t.test('each block is run by a test: by its name, or as an example of gateway.yaml', async (t) => {
  const names = new Set(asked('block'));
  for (const { language, name, line } of readmeBlocks) {
    const what = `line ${line}: ${language} ${name}`;
    if (language === 'yaml' && name === '') t.pass(`${what}: test/readme/settings.test.ts`);
    else t.ok(names.has(name) || name === 'picture', what);
  }
  for (const name of names) t.doesNotThrow(() => block(name), name);
});

t.test('each command in a sentence or a table is run by a test', async (t) => {
  const beginnings = asked('command');
  for (const beginning of beginnings) t.doesNotThrow(() => command(beginning), beginning);
  for (const { text, line } of inlineCommands) {
    const claimed =
      Object.hasOwn(toldOf, text) ||
      kinds.some(([kind]) => kind.test(text)) ||
      beginnings.some((beginning) => text.startsWith(beginning));
    t.ok(claimed, `line ${line}: ${text}`);
  }
  for (const text of Object.keys(toldOf))
    t.ok(
      inlineCommands.some((one) => one.text === text),
      `${text} is there`,
    );
});

t.test('the tests that take a whole kind are there, and read it from the README', async (t) => {
  for (const [, file] of kinds) t.match(readFileSync(file, 'utf8'), 'inlineCommands', file);
});

t.test('a command is found wherever it stands', async (t) => {
  const found = new Set(inlineCommands.map(({ text }) => text));
  for (const text of [
    'npm cit',
    'key list --idle',
    'kill -9',
    'curl -f http://127.0.0.1:9464/readyz',
    'user list',
  ])
    t.ok(found.has(text), text);
  t.ok(inlineCommands.length > 60);
  t.ok(readmeBlocks.length > 30);
});
