/** `portcullis audit …` and `schema` as they are typed. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { linesOf, schemaFault } from '../support/audit.ts';
import { programEnv, runProgram } from '../support/program.ts';

/** A log of two commands, its public key, and a folder where there is nothing else. */
async function writtenLog(test: Test) {
  const directory = test.testdir();
  const env = programEnv(directory);
  await runProgram(['setup'], env);
  await runProgram(['key', 'create', '--name', 'ci'], env);
  const { stdout: key } = await runProgram(['audit', 'key'], env);
  const elsewhere = join(directory, 'elsewhere');
  mkdirSync(elsewhere);
  const log = join(elsewhere, 'audit.log');
  const keyFile = join(elsewhere, 'audit.pub');
  copyFileSync(join(directory, 'audit.log'), log);
  writeFileSync(keyFile, key);
  /** Where neither a configuration nor a database is. */
  const verify = (...args: string[]) =>
    runProgram(['audit', 'verify', log, '--key', keyFile, '--config', '/nowhere', ...args], process.env);
  return { env, log, keyFile, verify };
}

t.test('a log is verified with the public key alone; a change is named with file and line', async (t) => {
  const { log, verify } = await writtenLog(t);
  const good = await verify();
  t.equal(good.exitCode, 0, good.stderr);
  t.match(good.stdout, /as it was written: 6 records, 1 file, .* MB\/s; every record is proven/);
  const json = JSON.parse((await verify('--json')).stdout);
  t.match(json, { ok: true, fault: null, records: 6, unproven: 0, head: /^[0-9a-f]{32}:3:/ });

  const text = readFileSync(log, 'utf8');
  writeFileSync(log, text.replace('"key create"', '"key delete"'));
  const bad = await verify();
  t.equal(bad.exitCode, 1);
  t.match(bad.stdout, /audit\.log:5: altered: /);
  t.match(JSON.parse((await verify('--json')).stdout), { ok: false, fault: { kind: 'altered', line: 5 } });

  writeFileSync(log, text.split('\n').slice(0, 4).join('\n').concat('\n'));
  t.equal((await verify()).exitCode, 0, 'cut off at a signature: the log alone cannot tell');
  const cut = await verify('--head', json.head);
  t.equal(cut.exitCode, 1);
  t.match(cut.stdout, /cut_off: .*known from elsewhere/);
});

t.test('a head may be the line of a checkpoint that somebody else has kept, in a file', async (t) => {
  const { log, verify } = await writtenLog(t);
  const kept = `${log}.head`;
  writeFileSync(kept, `${linesOf(log).at(-1)}\n`);
  t.equal((await verify('--head', kept)).exitCode, 0);
  writeFileSync(log, linesOf(log).slice(0, -1).join('\n').concat('\n'));
  t.equal((await verify()).exitCode, 3, 'records behind the last signature are unproven');
  t.equal((await verify('--head', kept)).exitCode, 1);
});

t.test('without files it is the configured log, with the configured key', async (t) => {
  const { env } = await writtenLog(t);
  const { exitCode, stdout } = await runProgram(['audit', 'verify'], env);
  t.equal(exitCode, 0);
  t.match(stdout, /6 records/);
});

t.test('what cannot be checked is no verdict: exit code 2', async (t) => {
  const { log, keyFile, verify } = await writtenLog(t);
  for (const args of [['--head', 'nonsense'], ['--key', log], ['--key', '/nowhere'], [`${log}.gone`]]) {
    const { exitCode, stderr } = await verify(...args);
    t.equal(exitCode, 2, args.join(' '));
    t.notMatch(stderr, /at .*\.ts:\d+/, 'no stack');
  }
  t.match((await runProgram(['audit', 'verify', log, '--key', keyFile], process.env)).exitCode, 0);
});

t.test('a key of one’s own signs, and openssl knows its public half', async (t) => {
  const directory = t.testdir();
  const pem = join(directory, 'audit.pem');
  spawnSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', pem]);
  const yaml = readFileSync('gateway.yaml', 'utf8').replace('audit:\n', `audit:\n  signing_key: ${pem}\n`);
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml);
  const env = programEnv(directory);
  await runProgram(['setup', '--config', config], env);
  const { stdout } = await runProgram(['audit', 'key', '--config', config], env);
  const { stdout: expected } = spawnSync('openssl', ['pkey', '-in', pem, '-pubout'], { encoding: 'utf8' });
  t.equal(stdout, expected);
  t.equal((await runProgram(['audit', 'verify', '--config', config], env)).exitCode, 0);

  writeFileSync(pem, 'rubbish');
  const check = await runProgram(['check', '--config', config], env);
  t.equal(check.exitCode, 1);
  t.match(
    check.stdout,
    /audit\.signing_key: is PEM whose content is damaged|audit\.signing_key: .*openssl genpkey/,
  );
});

t.test('`schema audit` prints what every line of a log fits', async (t) => {
  const { env, log } = await writtenLog(t);
  const { stdout } = await runProgram(['schema', 'audit'], env);
  t.match(JSON.parse(stdout), { $schema: /2020-12/, oneOf: Array });
  for (const line of linesOf(log)) t.equal(schemaFault(line), undefined);
  t.ok(schemaFault('{"stage":"event"}'), 'and something that is none does not fit');
  t.match(JSON.parse((await runProgram(['schema'], env)).stdout), { properties: { routes: Object } });
  t.equal((await runProgram(['schema', 'nonsense'], env)).exitCode, 1);
});
