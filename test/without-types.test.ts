/** How the program loads its modules: without types, in a process of its own that is gone once they are loaded. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);

/** Runs `code` in a Node that takes no types out itself, unless `more` says so, after the modules are prepared. */
async function prepared(code: string, { before = '', flags = ['--no-strip-types'] } = {}): Promise<string> {
  const whole = `${before}
    const { prepare } = require('./src/without-types.cjs');
    prepare().then(async () => { ${code} });`;
  const { stdout } = await run(process.execPath, [...flags, '--eval', whole], { cwd: resolve('.') });
  return stdout;
}

const throwing = `
  const { parseRedisUrl } = await import('./src/redis/url.ts');
  try {
    parseRedisUrl('nonsense');
  } catch (error) {
    console.log(error.stack);
  }`;

t.test('modules are loaded without their types', async (t) => {
  t.equal(await prepared(`console.log(typeof (await import('./src/gateway.ts')).handle)`), 'function\n');
});

t.test('stack traces tell file and line of the source', async (t) => {
  const stack = await prepared(throwing);
  const [, line = '', column = ''] = /src\/redis\/url\.ts:(\d+):(\d+)/.exec(stack) ?? [];
  const source = readFileSync('src/redis/url.ts', 'utf8').split('\n')[Number(line) - 1] ?? '';
  t.match(source.slice(Number(column) - 1), /^new RedisUrlError/, stack);
});

t.test('a thread finds them as well', async (t) => {
  const said = await prepared(`
    const { Worker } = require('node:worker_threads');
    const thread = new Worker("import('./src/errors.ts').then(({ Refusal }) => console.log(Refusal.name))", {
      eval: true,
      execArgv: ['--no-strip-types', '--require', './src/without-types.cjs'],
    });`);
  t.equal(said, 'Refusal\n');
});

t.test('where no process can be started, Node takes the types out itself', async (t) => {
  const stack = await prepared(throwing, { before: `process.execPath = '/nowhere/node';`, flags: [] });
  t.match(stack, /src\/redis\/url\.ts:\d+/);
});
