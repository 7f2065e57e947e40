/** What stands in the place of a file and is none: refused with a sentence, and never waited for. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { freePort } from '../support/free-port.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';

/** Every place of a file that `check` looks into. */
const yaml = (file: string) => `version: 1
listen: { tls: { cert: ${file}, key: ${file}, client_ca: ${file} } }
auth:
  tokens: { keys: [{ file: ${file} }] }
  issuers:
    - { name: a, issuer: "https://a.example", audience: x, algorithms: [EdDSA], jwks_file: ${file} }
    - name: b
      issuer: https://b.example
      audience: x
      algorithms: [EdDSA]
      jwks_uri: https://b.example/keys
      ca_file: ${file}
      token_file: ${file}
rate_limits: { classes: { public: { rate: 1/second } } }
audit:
  signing_key: ${file}
  pseudonym_key: "\${PSEUDONYM_KEY}"
  sinks:
    - { type: file, path: audit.log }
    - { type: http, url: "https://c.example", token_file: ${file}, tls: { ca: ${file}, cert: ${file}, key: ${file} } }
upstreams: { a: { url: "http://127.0.0.1:9" } }
routes:
  - { path: /a, upstream: a, permission: none, class: public, inspect: json, schema: ${file} }
`;

const places = [
  ...['listen.tls.cert', 'listen.tls.key', 'listen.tls.client_ca', 'auth.tokens.keys.0.file'],
  ...['auth.issuers.0.jwks_file', 'auth.issuers.1.ca_file', 'auth.issuers.1.token_file', 'audit.signing_key'],
  ...['audit.sinks.1.token_file', 'audit.sinks.1.tls.ca', 'audit.sinks.1.tls.cert', 'audit.sinks.1.tls.key'],
  'routes.0.schema',
];

function pipeIn(t: Test): { directory: string; pipe: string } {
  const directory = t.testdir();
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  return { directory, pipe };
}

t.test('a pipe in the place of any file that the configuration names is told by its place', async (t) => {
  const { directory, pipe } = pipeIn(t);
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml(pipe));
  const env = { ...programEnv(directory), PSEUDONYM_KEY_FILE: pipe };
  const { exitCode, stdout } = await runProgram(['check', '--config', config], env);
  t.equal(exitCode, 1);
  for (const place of places)
    t.ok(stdout.includes(` ${place}: cannot be read: it is not a regular file`), place);
  t.match(stdout, /PSEUDONYM_KEY_FILE names the file .*, which cannot be read: it is not a regular file/);
});

t.test('a directory in its place is told as one', async (t) => {
  const { directory } = pipeIn(t);
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml(directory));
  const env = { ...programEnv(directory), PSEUDONYM_KEY_FILE: directory };
  const { exitCode, stdout } = await runProgram(['check', '--config', config], env);
  t.equal(exitCode, 1);
  for (const place of places) t.ok(stdout.includes(` ${place}: cannot be read: it is a directory`), place);
});

t.test('a kept secret and a password: no pipe is waited for', async (t) => {
  const { directory, pipe } = pipeIn(t);
  const env = programEnv(directory);
  const kept = join(directory, 'data', 'api-keys.key');
  mkdirSync(join(directory, 'data'));
  execFileSync('mkfifo', ['-m', '600', kept]);
  const said = async (args: string[], changes: object) => {
    const { exitCode, stdout, stderr } = await runProgram(args, {
      ...env,
      ...changes,
    });
    t.equal(exitCode, 1);
    return stdout + stderr;
  };
  t.match(await said(['setup'], {}), /api-keys\.key: is not a regular file/);
  rmSync(kept);
  t.match(await said(['setup'], { ADMIN_PASSWORD_FILE: pipe }), /ADMIN_PASSWORD_FILE.*not a regular file/);
});

t.test(
  'a pipe in the place of the configuration of a running gateway: it serves on, and says so',
  async (t) => {
    const { directory, pipe } = pipeIn(t);
    const config = join(directory, 'gateway.yaml');
    writeFileSync(config, readFileSync('gateway.yaml', 'utf8'));
    const port = await freePort();
    const env = { ...programEnv(directory), PORT: String(port) };
    await runProgram(['setup'], env);
    const gateway = startProgram(['start', '--config', config], env);
    t.teardown(() => gateway.stop('SIGKILL'));
    const health = async () => (await fetch(`http://127.0.0.1:${port}/health`)).status;
    for (let tries = 0; (await health().catch(() => 0)) !== 200 && tries < 200; tries += 1) await sleep(50);
    renameSync(pipe, config);
    gateway.child.kill('SIGHUP');
    for (let tries = 0; gateway.stderr() === '' && tries < 200; tries += 1) await sleep(50);
    t.match(gateway.stderr(), /cannot be read: it is not a regular file/);
    t.equal(await health(), 200);
  },
);
