/** The layout's rules, read from the imports themselves. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import t from 'tap';

interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** Paths from the top of the checkout; packages and node: modules as they are written. */
  readonly imports: readonly string[];
}

function sourcesIn(folder: string): SourceFile[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const path = join(folder, name);
      const text = readFileSync(path, 'utf8');
      const specifiers = [...text.matchAll(/\bfrom '([^']+)'|\bimport\('([^']+)'\)/g)];
      const imports = specifiers.map(([, from, dynamic]) => resolved(path, from ?? dynamic ?? ''));
      return { path, text, imports };
    });
}

function resolved(path: string, specifier: string): string {
  return specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : specifier;
}

const src = sourcesIn('src');
const registry = sourcesIn('registry');
const helperFolders = ['audit', 'bucket', 'credentials', 'endpoints', 'http', 'identity', 'inspection'].map(
  (name) => `src/${name}/`,
);
const shared = ['src/errors.ts', 'src/limits.ts', 'src/exchange.ts', 'src/clock.ts'];

t.test('the rules have something to hold', async (t) => {
  t.ok(src.length > 30);
  t.ok(registry.length > 5);
  t.ok(
    src.some(({ imports }) => imports.includes('src/exchange.ts')),
    'imports are understood',
  );
});

t.test(
  'a phase imports its helper folder, http/, errors, limits, exchange; never another phase',
  async (t) => {
    const phases = src.filter(({ path }) => path.startsWith('src/phases/'));
    t.equal(phases.length, 9, 'seven phases, the last in three forms');
    for (const { path, imports } of phases) {
      const ours = imports.filter((name) => name.startsWith('src/'));
      const allowed = (name: string) =>
        shared.includes(name) || helperFolders.some((folder) => name.startsWith(folder));
      t.strictSame(
        ours.filter((name) => !allowed(name)),
        [],
        path,
      );
      const folders = new Set(
        ours.filter((name) => !shared.includes(name)).map((name) => name.split('/')[1]),
      );
      folders.delete('http');
      folders.delete('endpoints');
      t.ok(folders.size <= 2, `${path} has few helper folders: ${[...folders].join(', ')}`);
    }
  },
);

t.test('only main.ts touches process', async (t) => {
  for (const { path, text } of src.filter((file) => file.path !== 'src/main.ts')) {
    const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    t.notMatch(code, /\bprocess\.(?!on\b)\w+|from 'node:process'/, path);
  }
});

t.test('the registry imports nothing from src/ but sql/ and http/problem.ts', async (t) => {
  for (const { path, imports } of registry) {
    const foreign = imports.filter((name) => name.startsWith('src/'));
    const allowed = foreign.filter((name) => name.startsWith('src/sql/') || name === 'src/http/problem.ts');
    t.strictSame(foreign, allowed, path);
  }
});

t.test('what both programs share leans on neither', async (t) => {
  for (const { path, imports } of src.filter((file) => /^src\/(sql\/|http\/problem\.ts)/.test(file.path))) {
    t.strictSame(
      imports.filter((name) => name.startsWith('src/') && !name.startsWith('src/sql/')),
      [],
      path,
    );
  }
});

t.test('nothing in src/ imports the registry, nothing anywhere a test', async (t) => {
  for (const { path, imports } of [...src, ...registry]) {
    t.notOk(path.startsWith('src/') && imports.some((name) => name.startsWith('registry/')), path);
    t.notOk(
      imports.some((name) => name.startsWith('test/')),
      path,
    );
  }
});

t.test('the top level and the names of folders stay as agreed', async (t) => {
  const expected = [
    'deploy',
    'gateway.yaml',
    'package-lock.json',
    'package.json',
    'README.md',
    'registry',
    'src',
    'test',
    'tsconfig.json',
  ];
  const ignored = new Set(['node_modules', 'data', 'coverage']);
  const top = readdirSync('.').filter(
    (name) => !name.startsWith('.') && !ignored.has(name) && !name.startsWith('audit.log'),
  );
  t.strictSame(
    top.filter((name) => !expected.includes(name)),
    [],
    'no new top-level entry',
  );
  for (const { path } of [...src, ...registry]) {
    t.notMatch(path, /\b(?:utils?|common|helpers?|manager|service)\b/, path);
  }
});

t.test('handle() is the seven phases as consecutive statements with one catch and one finally', async (t) => {
  const { text } = src.find(({ path }) => path === 'src/gateway.ts') ?? { text: '' };
  const body = /export async function handle\([\s\S]*?\n}\n/.exec(text)?.[0] ?? '';
  const calls = [...body.matchAll(/(?:= |^\s+)(?:await )?(\w+)\(/gm)].map((match) => match[1]);
  t.strictSame(calls.slice(0, 7), [
    'matchRoute',
    'authenticate',
    'authorize',
    'limitRate',
    'inspectBody',
    'rewriteHeaders',
    'forwardOrAnswer',
  ]);
  t.equal(body.match(/\btry\b/g)?.length, 1);
  t.equal(body.match(/\bcatch\b/g)?.length, 1);
  t.equal(body.match(/\bfinally\b/g)?.length, 1);
  t.equal(text.match(/\btry\b/g)?.length, 1, 'no other in the file');
});

t.test('the lock file names no host, and no install script runs', async (t) => {
  t.notMatch(readFileSync('package-lock.json', 'utf8'), /"resolved": "http/);
  t.match(readFileSync('.npmrc', 'utf8'), /^ignore-scripts=true$/m);
});
