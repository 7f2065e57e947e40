import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { fingerprint, loadSecrets } from '../../src/credentials/secrets.ts';

const run = promisify(execFile);
const option = 'auth.tokens.secrets';
const strong = 'pVh2Qm8sXw4KzR7tLb9NcYd3FgJ6uEaB';

t.test('without one given, a secret is made once and kept, mode 0600', async (t) => {
  const file = join(t.testdir(), 'data', 'secret.key');
  const [first] = loadSecrets({ option, given: ['', ''], file });
  const [second] = loadSecrets({ option, given: [], file });
  t.equal(second, first);
  t.ok(Buffer.from(first, 'base64url').length >= 32);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.same(readdirSync(join(file, '..')), ['secret.key'], 'no draft stays behind');
});

t.test('programs that start at once end with the same secret', async (t) => {
  const file = join(t.testdir(), 'secret.key');
  const module = new URL('../../src/credentials/secrets.ts', import.meta.url).href;
  const source = `
    const { loadSecrets } = await import(${JSON.stringify(module)});
    console.log(loadSecrets({ option: 'x', given: [], file: ${JSON.stringify(file)} })[0]);`;
  const program = () => run(process.execPath, ['--input-type=module', '--eval', source]);
  const outputs = await Promise.all([program(), program(), program(), program()]);
  const secrets = outputs.map(({ stdout }) => stdout.trim());
  t.equal(new Set(secrets).size, 1);
  t.equal(readFileSync(file, 'utf8').trim(), secrets[0]);
});

t.test('a kept secret that others can read is refused, with what to do', async (t) => {
  const file = join(t.testdir(), 'secret.key');
  loadSecrets({ option, given: [], file });
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(file, mode);
    t.throws(() => loadSecrets({ option, given: [], file }), {
      message: `${file}: others than its owner can read this secret; run: chmod 600 ${file}`,
    });
  }
});

t.test('an empty, short or unusual file is refused and left as it is', async (t) => {
  const directory = t.testdir();
  const file = join(directory, 'secret.key');
  for (const content of ['', '\n', 'short']) {
    writeFileSync(file, content, { mode: 0o600 });
    t.throws(() => loadSecrets({ option, given: [], file }), { message: /holds no secret of 32 bytes/ });
    t.equal(readFileSync(file, 'utf8'), content);
  }
  mkdirSync(join(directory, 'folder.key'), { mode: 0o700 });
  t.throws(() => loadSecrets({ option, given: [], file: join(directory, 'folder.key') }), {
    message: /not a regular file/,
  });
});

t.test('given secrets are used as they are, the first first', async (t) => {
  const file = join(t.testdir(), 'secret.key');
  const other = strong.toLowerCase();
  t.same(loadSecrets({ option, given: ['', strong, other], file }), [strong, other]);
  t.throws(() => statSync(file), { code: 'ENOENT' });
});

t.test('a secret under 32 bytes is refused, without saying it (attacks 30)', async (t) => {
  const short = strong.slice(0, 31);
  t.throws(() => loadSecrets({ option, given: [strong, short], file: undefined }), {
    message: 'auth.tokens.secrets: a secret needs at least 32 bytes; make one with: openssl rand -base64 48',
  });
});

t.test('a database in memory gets a secret that is kept nowhere', async (t) => {
  const source = { option, given: [], file: undefined };
  t.not(loadSecrets(source)[0], loadSecrets(source)[0]);
});

t.test('a fingerprint is short, stable and tells secrets apart', async (t) => {
  t.match(fingerprint(strong), /^[A-Za-z0-9_-]{11}$/);
  t.equal(fingerprint(strong), fingerprint(strong));
  t.not(fingerprint(strong), fingerprint(`${strong}x`));
});
