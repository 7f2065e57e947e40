/** What the README tells whoever starts, measures or changes Portcullis. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { programEnv } from '../support/program.ts';
import { block, command, inlineCommands, lineOf, linesOf } from '../support/readme.ts';
import { npmEnv, saidUntil } from './shell.ts';

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };

/** What npm has in a new checkout, with the packages of this one; outside of this one, whose git it must not meet. */
function checkout(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-checkout-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const name of [
    'package.json',
    'package-lock.json',
    '.npmrc',
    '.gitignore',
    '.ci',
    'src',
    'registry',
    'gateway.yaml',
  ])
    cpSync(name, join(folder, name), { recursive: true });
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  return folder;
}

t.test('npm start, in a checkout in which npm ci was run, starts all and prints what it says', async (t) => {
  const [install, start, ...rest] = block('start').trim().split(' && ');
  t.strictSame([install, start, rest], ['npm ci', 'npm start', []]);
  const folder = checkout(t);
  const said = await saidUntil(t, start ?? '', /API key +\S+[\s\S]*curl/, folder, programEnv(folder));
  for (const part of [
    /traffic +http:/,
    /docs +http:/,
    /metrics +http:/,
    /admin password +\S+/,
    /API key +mcp_/,
  ])
    t.match(said, part);
});

t.test('npm ci installs what the lock file has: these tests run on it', async (t) => {
  const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')).packages as Record<string, Locked>;
  interface Locked {
    readonly version?: string;
    readonly optional?: boolean;
  }
  const installed = read('node_modules/.package-lock.json');
  for (const [path, { version, optional }] of Object.entries(read('package-lock.json'))) {
    if (path === '' || (optional && installed[path] === undefined)) continue;
    if (installed[path]?.version !== version) t.fail(`${path}: ${installed[path]?.version}, not ${version}`);
  }
  t.ok(Object.keys(installed).length > 300);
});

t.test('npm run format formats', async (t) => {
  const folder = checkout(t);
  mkdirSync(join(folder, 'test'));
  const file = join(folder, 'test/wild.ts');
  writeFileSync(file, 'export   const answer = "42"');
  const child = spawn('bash', ['-c', lineOf(block('development'), 'npm run format')], {
    cwd: folder,
    env: npmEnv,
  });
  await once(child, 'close');
  t.equal(readFileSync(file, 'utf8'), "export const answer = '42';\n");
});

t.test('npm test and npm cit are these tests', async (t) => {
  t.equal(lineOf(block('development'), 'npm test'), 'npm test');
  t.equal(command('npm cit'), 'npm cit');
  t.match(scripts.test, /test\/support\/all\.ts/);
  t.equal(command('npm start'), 'npm start');
});

t.test(
  'what tap is to run alone are tests of this suite, and know the variables they are given',
  async (t) => {
    const lines = [lineOf(block('development'), 'npx tap'), ...inlineCommands.map(({ text }) => text)];
    const commands = lines.filter((text) => /^(?:[A-Z_]+=\S+ )*npx tap /.test(text));
    t.ok(commands.length >= 6);
    for (const text of commands) {
      const path = text.split(' ').at(-1) ?? '';
      const files = path.endsWith('.ts') ? [path] : readdirSync(path).map((name) => join(path, name));
      t.ok(
        files.some((file) => file.endsWith('.test.ts')),
        text,
      );
      for (const [, name = ''] of text.matchAll(/\b([A-Z_]+)=/g))
        t.match(readFileSync(path, 'utf8'), `process.env.${name}`, text);
    }
  },
);

t.test('npm run bench knows what it is asked for (it is not run: ten minutes)', async (t) => {
  const { namesWith } = await import('../bench/contenders.ts');
  const text = block('bench');
  t.match(lineOf(text, 'npm run bench'), /^npm run bench$/);
  t.match(lineOf(block('development'), 'npm run bench'), /^npm run bench$/);
  t.ok(existsSync(/^node (\S+)$/.exec(scripts.bench ?? '')?.[1] ?? ''));
  const words = /--only (\S+?):/.exec(text)?.[1]?.split(',') ?? [];
  t.ok(words.length > 0);
  for (const word of words) t.ok(namesWith([word]).length > 0, word);
});

t.test('no other line is in the block', async (t) => {
  const known = /^(?:npm test|npx tap \S+|npm run bench|node test\/bench\/\S+|npm run format)?$/;
  for (const line of linesOf(block('development'))) t.match(line, known);
  t.strictSame(linesOf(block('bench')), ['npm run bench', '']);
});
