/** The command line as it is typed: what it prints, what it changes, what it leaves in the audit log. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import t from 'tap';
import { programEnv, runProgram, startProgram } from '../support/program.ts';

/** What the log tells of changes; the header of the file and the checkpoints are the chain's own. */
function records(directory: string): Array<Record<string, unknown>> {
  return readFileSync(join(directory, 'audit.log'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ stage }) => stage === 'attempt' || stage === 'complete');
}

t.test('setup makes the first admin and key once, and its audit record holds no secret', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  const first = await runProgram(['setup', '--json'], env);
  t.equal(first.exitCode, 0, first.stderr);
  const made = JSON.parse(first.stdout);
  t.match(made, { username: 'admin', password: String, id: String, key: /^mcp_/ });
  const again = await runProgram(['setup'], env);
  t.equal(again.exitCode, 1);
  t.match(again.stderr, /^portcullis: setup was done before; .*`portcullis user create`/);
  t.notMatch(again.stderr, /at .*\.ts:\d+/, 'no stack');
  const [attempt, complete] = records(directory);
  t.match(attempt, { method: 'CLI', path: 'setup', stage: 'attempt', principal: /^cli:\w+/ });
  t.match(complete, { stage: 'complete', decision: 'allow', credential_id: made.id });
  const log = readFileSync(join(directory, 'audit.log'), 'utf8');
  t.notOk(log.includes(made.key) || log.includes(made.password));
  t.equal(statSync(join(directory, 'data/portcullis.db')).mode & 0o777, 0o600, 'the database is private');
  t.equal(statSync(join(directory, 'audit.log')).mode & 0o777, 0o600, 'so is the log');
});

t.test('ADMIN_PASSWORD sets the first password, and is not shown', async (t) => {
  const env = { ...programEnv(t.testdir()), ADMIN_PASSWORD: 'unattended and long enough' };
  const { exitCode, stdout } = await runProgram(['setup'], env);
  t.equal(exitCode, 0);
  t.notMatch(stdout, /unattended/);
  const weak = await runProgram(['setup'], { ...programEnv(t.testdir()), ADMIN_PASSWORD: 'admin' });
  t.equal(weak.exitCode, 1);
  t.match(weak.stderr, /password/);
});

t.test('a key is created, listed, rotated, disabled and deleted', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  await runProgram(['setup'], env);
  const run = async (...args: string[]) => {
    const ended = await runProgram(['key', ...args, '--json'], env);
    t.equal(ended.exitCode, 0, ended.stderr);
    return JSON.parse(ended.stdout);
  };
  const made = await run('create', '--name', 'ci', '--permissions', 'read,create');
  t.match(made, { id: String, key: /^mcp_/, can_read: true, can_create: true, can_delete: false });
  const { items } = await run('list');
  t.match(items.at(-1), { id: made.id, name: 'ci', is_active: true });
  const rotated = await run('rotate', made.id);
  t.equal(rotated.id, made.id);
  t.not(rotated.key, made.key);
  t.match(
    await run('disable', rotated.key),
    { id: made.id, is_active: false },
    'the whole key names it as well',
  );
  t.match(await run('delete', made.id), { deleted: true });
  t.equal((await run('list')).total, 1);
  const log = readFileSync(join(directory, 'audit.log'), 'utf8');
  t.notOk(log.includes(rotated.key), 'and is not written down');
  const commands = records(directory).map(({ path, stage }) => `${path} ${stage}`);
  t.strictSame(
    commands,
    ['setup', 'key create', 'key rotate', 'key disable', 'key delete'].flatMap((name) => [
      `${name} attempt`,
      `${name} complete`,
    ]),
    'every change is on record, a list is not',
  );
});

t.test('a user is created, listed, disabled; a password is read from standard input', async (t) => {
  const env = programEnv(t.testdir());
  await runProgram(['setup'], env);
  const password = 'from standard input';
  const made = await runProgram(
    ['user', 'create', '--username', 'ada', '--permissions', 'read', '--password-stdin', '--json'],
    env,
    `${password}\n`,
  );
  t.equal(made.exitCode, 0, made.stderr);
  t.notMatch(made.stdout, /from standard input|hash/);
  t.match(JSON.parse(made.stdout), { username: 'ada', can_read: true, is_admin: false });
  const reset = await runProgram(['user', 'reset-password', 'ada'], env);
  t.match(reset.stdout, /password \S{16,}/);
  t.match((await runProgram(['user', 'disable', 'ada'], env)).stdout, /disabled user ada/);
  t.match((await runProgram(['user', 'list'], env)).stdout, /ada\tuser\tdisabled/);
});

t.test('what is wrong is told in a sentence, with exit code 1 and no stack', async (t) => {
  const directory = t.testdir({ 'bad.yaml': 'version: 1\nlisten: { prot: 8000 }\n' });
  const env = programEnv(directory);
  await runProgram(['setup'], env);
  for (const [args, message] of [
    [['key', 'rotate', 'nonesuch'], /there is no key "nonesuch": see `portcullis key list`/],
    [['key', 'disable', 'none\u001bsuch'], /there is no key "none\\u001bsuch"/],
    [['key', 'delete', 'mcp_4fXabcdefghi_secretsecretsecret'], /there is no key "4fXabcdefghi":/],
    [['user', 'unlock', 'nobody'], /there is no user "nobody": see `portcullis user list`/],
    [
      ['key', 'create', '--name', 'x', '--permissions', 'raed'],
      /--permissions: "raed" is none; write some of create,read,update,delete/,
    ],
    [['key', 'create', '--name', 'x', '--expires-at', 'soon'], /expires_at/],
    [['user', 'create', '--username', 'a b'], /username/],
    [['start', '--config', 'nowhere.yaml'], /nowhere.yaml.*cannot be read/],
    [['check', '--config', join(directory, 'bad.yaml')], /./],
    [['frobnicate'], /unknown command/],
  ] as const) {
    const { exitCode, stdout, stderr } = await runProgram(args, env);
    t.equal(exitCode, 1, args.join(' '));
    t.match(stdout + stderr, message);
    t.notMatch(stderr, /\n +at .*:\d+:\d+/, 'no stack');
  }
});

t.test('check tells every problem with file, line, column and what to write', async (t) => {
  const directory = t.testdir({
    'bad.yaml':
      'version: 1\nlisten: { prot: 8000 }\nrate_limits: { classes: { public: { rate: 0/minute } } }\naudit: { sinks: [] }\n',
  });
  const path = join(directory, 'bad.yaml');
  const { exitCode, stdout } = await runProgram(['check', '--config', path], programEnv(directory));
  t.equal(exitCode, 1);
  t.match(stdout, /bad\.yaml:2:11: listen\.prot: .*"?port"?/);
  t.match(stdout, /bad\.yaml:3:43: rate_limits\.classes\.public\.rate: /);
  t.match(stdout, /bad\.yaml:4:17: audit\.sinks/);
  const good = await runProgram(['check', '--json'], programEnv(directory));
  t.match({ exitCode: good.exitCode, ...JSON.parse(good.stdout) }, { exitCode: 0, ok: true, problems: [] });
});

t.test('a second gateway on one database is refused and told why; the first is not harmed', async (t) => {
  const env = programEnv(t.testdir());
  const first = startProgram(['start'], { ...env, LOG_LEVEL: 'info' });
  t.teardown(() => first.stop('SIGKILL'));
  await until(() => /is listening/.test(first.stderr()));
  const second = await runProgram(['start'], env);
  t.equal(second.exitCode, 1);
  t.match(second.stderr, /another gateway runs on this database .*DATABASE_URL/);
  t.equal(
    (await runProgram(['key', 'create', '--name', 'while it runs'], env)).exitCode,
    0,
    'commands work beside it',
  );
  await first.stop('SIGKILL');
  const third = startProgram(['start'], { ...env, LOG_LEVEL: 'info' });
  t.teardown(() => third.stop('SIGKILL'));
  await until(() => /is listening/.test(third.stderr()));
  t.pass('the lock died with its process');
  t.equal((await third.stop('SIGTERM')).exitCode, 0);
});

t.test('a port in use is named, with the variable that changes it', async (t) => {
  const squatter = createServer().listen(0, '127.0.0.1');
  t.teardown(() => squatter.close());
  await until(() => squatter.listening);
  const { port } = squatter.address() as { port: number };
  for (const variable of ['PORT', 'OPERATIONS_PORT']) {
    const { exitCode, stderr } = await runProgram(['start'], {
      ...programEnv(t.testdir()),
      [variable]: String(port),
    });
    t.equal(exitCode, 1);
    t.match(stderr, new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port}.*set ${variable} to a free port`));
  }
});

t.test('an audit log that cannot be opened keeps the gateway from starting', async (t) => {
  const directory = t.testdir();
  mkdirSync(join(directory, 'folder'));
  const env = { ...programEnv(directory), AUDIT_LOG_FILE: join(directory, 'folder') };
  const { exitCode, stderr } = await runProgram(['start'], env);
  t.equal(exitCode, 1);
  t.match(stderr, /the audit log .*folder cannot be opened.*AUDIT_LOG_FILE/);
});

t.test('a secret others can read is refused, with what to do', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  t.equal((await runProgram(['setup'], env)).exitCode, 0);
  t.equal((await runProgram(['key', 'list'], env)).exitCode, 0);
  const path = join(directory, 'data/api-keys.key');
  t.equal(statSync(path).mode & 0o777, 0o600);
  chmodSync(path, 0o644);
  const { exitCode, stderr } = await runProgram(['start'], env);
  t.equal(exitCode, 1);
  t.match(stderr, /api-keys\.key.*chmod 600/);
});

t.test('a command where there is no database says so, and makes none', async (t) => {
  const directory = t.testdir();
  const { exitCode, stderr } = await runProgram(['key', 'create', '--name', 'lost'], programEnv(directory));
  t.equal(exitCode, 1);
  t.match(stderr, /there is no database at .*portcullis\.db: run this where the gateway runs/);
  t.notOk(existsSync(join(directory, 'data')));
});

t.test(
  'a broken key file does not keep a command from disabling a key; check and start do tell of it',
  async (t) => {
    const directory = t.testdir({ 'broken.pem': 'no key at all' });
    const env = programEnv(directory);
    const { key } = JSON.parse((await runProgram(['setup', '--json'], env)).stdout);
    const shipped = readFileSync('gateway.yaml', 'utf8');
    const yaml = shipped.replace(
      /secrets: .*SECRET_KEY.*/,
      `keys: [{ file: ${join(directory, 'broken.pem')} }]`,
    );
    const config = join(directory, 'gateway.yaml');
    writeFileSync(config, yaml);
    t.equal((await runProgram(['check', '--config', config], env)).exitCode, 1);
    const disabled = await runProgram(['key', 'disable', key, '--config', config], env);
    t.equal(disabled.exitCode, 0, disabled.stderr);
  },
);

t.test('a database of a newer version is named as one, without a stack', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  await runProgram(['setup'], env);
  const database = new Sqlite(join(directory, 'data/portcullis.db'));
  database.exec("insert into portcullis_migration values ('9999_future', '2099-01-01T00:00:00.000Z')");
  database.close();
  const { exitCode, stderr } = await runProgram(['start'], env);
  t.equal(exitCode, 1);
  t.match(
    stderr,
    /made by a newer version of Portcullis \(it has migration 9999_future\): start that version/,
  );
  t.notMatch(stderr, /\n +at /);
});

t.test('a first start that cannot be set up ends, and says what to mend', async (t) => {
  const env = { ...programEnv(t.testdir()), ADMIN_PASSWORD: 'admin' };
  const { exitCode, stderr } = await runProgram(['quickstart'], env);
  t.equal(exitCode, 1);
  t.match(stderr, /password: must be at least 12 characters/);
});

t.test('ADMIN_PASSWORD_FILE gives the password too, and an empty one counts as none', async (t) => {
  const directory = t.testdir({ password: 'from a mounted file\n' });
  const env = { ...programEnv(directory), ADMIN_PASSWORD_FILE: join(directory, 'password') };
  t.notMatch((await runProgram(['setup', '--json'], env)).stdout, /"password"/);
  const made = await runProgram(['setup', '--json'], { ...programEnv(t.testdir()), ADMIN_PASSWORD: '' });
  t.match(JSON.parse(made.stdout), { password: String });
});

t.test('quickstart ends with its registry, and the registry with it', async (t) => {
  const directory = t.testdir();
  const program = startProgram(['quickstart'], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  const [, registryUrl = ''] = await program.said(/registry (http\S+)/);
  t.equal((await fetch(`${registryUrl}/health`)).status, 200);
  await program.stop('SIGKILL');
  await until(() =>
    fetch(`${registryUrl}/health`).then(
      () => false,
      () => true,
    ),
  );
  t.pass('the registry noticed');
  const next = startProgram(['quickstart'], programEnv(directory));
  t.teardown(() => next.stop('SIGKILL'));
  await next.said(/curl http\S+\/health/);
  t.notMatch(next.stdout(), /mcp_/, 'secrets are shown once');
  const pids = execFileSync('pgrep', ['-P', String(next.child.pid)], { encoding: 'utf8' })
    .trim()
    .split('\n');
  process.kill(Number(pids[0]), 'SIGKILL');
  const [exitCode] = await new Promise<[number | null]>((resolve) =>
    next.child.once('close', (code) => resolve([code])),
  );
  t.equal(exitCode, 1);
  t.match(next.stderr(), /the registry ended by itself \(SIGKILL\)/);
});

t.test('an older Node is told which one is needed', async (t) => {
  const code = `Object.defineProperty(process, 'versions', { value: { node: '20.1.0' } }); require('./src/portcullis.cjs');`;
  try {
    execFileSync(process.execPath, ['-e', code], { stdio: 'pipe' });
    t.fail('it ran');
  } catch (error) {
    const { status, stderr } = error as { status: number; stderr: Buffer };
    t.equal(status, 1);
    t.match(stderr.toString(), /this is Node 20\.1\.0; Portcullis needs Node 26/);
  }
});

t.test('SIGHUP opens the audit log anew, for whoever rotates it', async (t) => {
  const directory = t.testdir();
  const program = startProgram(['quickstart'], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  const [, traffic = ''] = await program.said(/traffic +(\S+)/);
  const log = join(directory, 'audit.log');
  execFileSync('mv', [log, `${log}.1`]);
  program.child.kill('SIGHUP');
  await until(() => existsSync(log));
  await fetch(`${traffic}/health`);
  await until(() => readFileSync(log, 'utf8').includes('/health'));
  t.notMatch(readFileSync(`${log}.1`, 'utf8'), /\/health/);
});

t.test('an unreadable secret file is told with the variable’s name, never its content', async (t) => {
  const directory = t.testdir();
  writeFileSync(join(directory, 'short'), 'tooshort\n');
  const env = { ...programEnv(directory), SECRET_KEY_FILE: join(directory, 'short') };
  const { exitCode, stdout } = await runProgram(['check'], env);
  t.equal(exitCode, 1);
  t.match(stdout, /gateway\.yaml:\d+:\d+: auth\.tokens\.secrets/);
  t.notMatch(stdout, /tooshort/);
});

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('it did not come to pass within 10 s');
}
