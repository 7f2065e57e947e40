/** The README tells the truth: its walk runs as it stands, and what it names is there. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { freePort } from './support/free-port.ts';
import { startPostgres } from './support/postgres.ts';
import { programEnv, runProgram, startProgram } from './support/program.ts';
import { block } from './support/readme.ts';
import { startRedis, until } from './support/redis.ts';

const readme = readFileSync('README.md', 'utf8');
const packageJson = JSON.parse(readFileSync('package.json', 'utf8'));

t.test('the walk runs as it stands', async (t) => {
  const directory = t.testdir();
  const program = startProgram(['quickstart'], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  const said = async (pattern: RegExp) => (await program.said(pattern))[1] ?? '';
  const traffic = await said(/traffic +(\S+)/);
  const operations = await said(/metrics +(\S+)\/metrics/);
  const script = block('walk')
    .replaceAll('http://127.0.0.1:8000', traffic)
    .replaceAll('http://127.0.0.1:9464', operations);
  const { status, stdout, stderr } = spawnSync('bash', ['-eu', '-o', 'pipefail', '-c', script], {
    encoding: 'utf8',
    cwd: directory,
    env: { ...process.env, PASSWORD: await said(/admin password +(\S+)/), KEY: await said(/API key +(\S+)/) },
  });
  t.equal(status, 0, stderr);
  const answers = stdout.split(/(?<=[}\]])(?=\{)/);
  t.match(stdout, /^\{"items":\[\],"total":0/, 'an empty list first');
  t.match(answers[1], /"name":"get_weather"/);
  t.match(answers[2], /"total":1/);
  t.match(stdout, /"title":"The weather"/, 'it was changed');
  t.match(stdout, /deleted: 204/);
  t.match(stdout, /200 .*429 /, 'the limit was reached');
  t.match(stdout, /"code":"permission_denied"/, 'the reader may not create');
  t.notMatch(stdout, /"code":"(?!permission_denied)/, 'nothing else was refused');
  t.match(stdout, /"status_code":403/, 'the log tells of it');
  t.match(stdout, /portcullis_http_requests_total\{route="\/tools",method="POST",status="403"\} 1/);
});

t.test('every dependency has its line, and no other has one', async (t) => {
  const table = /### Dependencies\n[\s\S]*?\n### /.exec(readme)?.[0] ?? '';
  for (const name of [
    ...Object.keys(packageJson.dependencies),
    ...Object.keys(packageJson.devDependencies),
  ]) {
    if (!name.startsWith('@types/')) t.ok(table.includes(name), name);
  }
  const rows = [...table.matchAll(/^\| (?!package|-)([^|]+) \|/gm)].flatMap(([, names = '']) =>
    names.split(', '),
  );
  for (const name of rows.filter((row) => !row.includes(' ')))
    t.ok(name in packageJson.dependencies, `${name} is installed`);
});

t.test('the two commands are what npm runs', async (t) => {
  t.match(packageJson.scripts.start, /quickstart/);
  t.match(readFileSync('.ci/run', 'utf8'), /^(?:exec )?npm cit$/m);
});

/** The quick start in a directory of its own, with the README's words for it. */
async function running(t: Test, changed: (yaml: string) => string = (yaml) => yaml) {
  const directory = t.testdir();
  writeFileSync(join(directory, 'gateway.yaml'), changed(readFileSync('gateway.yaml', 'utf8')));
  const env = { ...programEnv(directory), REQUESTS_PER_MINUTE: '1000' };
  const program = startProgram(['quickstart', '--config', join(directory, 'gateway.yaml')], env);
  t.teardown(() => program.stop('SIGKILL'));
  const said = async (pattern: RegExp) => (await program.said(pattern))[1] ?? '';
  return { directory, env, traffic: await said(/traffic +(\S+)/), key: await said(/API key +(\S+)/) };
}

t.test('the incident checklist runs as it stands, and ends what it says', async (t) => {
  const { directory, env, traffic, key } = await running(t);
  const call = async () => (await fetch(`${traffic}/tools`, { headers: { 'x-api-key': key } })).status;
  t.equal(await call(), 200);
  const made = await runProgram(['user', 'create', '--username', 'mallory', '--json'], env, '');
  t.equal(made.exitCode, 0, made.stderr);
  const auditFile = join(directory, 'audit.log');
  await until(() => readFileSync(auditFile, 'utf8').includes('"path":"/tools"'));
  const npx = `npx() { shift 2; '${process.execPath}' '${resolve('src/portcullis.cjs')}' "$@"; }\n`;
  // Not spawnSync: while that blocks, this process does not see the gateway close its idle connection.
  const { stdout } = await promisify(execFile)('bash', ['-eu', '-c', npx + block('incident')], {
    cwd: directory,
    env: { ...env, KEY_ID: key.slice(4, 16), SUSPECT: 'mallory' },
  });
  t.equal(await call(), 401, 'the key is dead');
  t.match(stdout, new RegExp(`${key.slice(4, 16)}\tdefault\t.*\tdisabled`));
  t.match(stdout, /\tmallory\t.*\tdisabled/);
  t.match(stdout, /"path":"\/tools"/, 'what it did is shown');
  t.match(stdout, /"principal":"cli:/, 'and what the commands changed');
  t.match(readFileSync(join(directory, 'incident/verified.txt'), 'utf8'), /^head \S+:\d+:/m);
  t.notMatch(stdout, new RegExp(key.slice(17)), 'no secret of before is shown');
});

t.test('nginx in front of the gateway, as it stands: the caller is the one who called nginx', async (t) => {
  const trusting = (yaml: string) => yaml.replace(/^listen: \{/m, 'listen: { trusted_proxies: [127.0.0.1],');
  const { directory, traffic, key } = await running(t, trusting);
  const port = await freePort();
  const server = block('nginx')
    .replace('127.0.0.1:8000', new URL(traffic).host)
    .replace('127.0.0.1:8080', `127.0.0.1:${port}`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const folders = temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n');
  const file = join(directory, 'nginx.conf');
  writeFileSync(
    file,
    `daemon off; pid ${directory}/nginx.pid; error_log stderr; events {}\nhttp { access_log off;\n${folders}\n${server}}\n`,
  );
  const nginx = spawn('nginx', ['-c', file, '-g', 'master_process off;'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaints = '';
  nginx.stderr.on('data', (data) => {
    complaints += data;
  });
  t.teardown(async () => {
    if (nginx.exitCode !== null) return;
    nginx.kill('SIGKILL');
    await once(nginx, 'exit');
  });
  const url = `http://127.0.0.1:${port}`;
  const call = (path: string, headers: Record<string, string> = {}) =>
    fetch(`${url}${path}`, { headers: { 'x-api-key': key, ...headers } });
  await until(
    async () => (await call('/health').catch(() => undefined))?.status === 200 || nginx.exitCode !== null,
  );
  t.equal(nginx.exitCode, null, complaints);
  const made = await call('/tools', { 'x-forwarded-for': '203.0.113.9', 'user-agent': 'behind-nginx' });
  t.equal(made.status, 200);
  const record = () =>
    readFileSync(join(directory, 'audit.log'), 'utf8')
      .split('\n')
      .find((line) => line.includes('behind-nginx'));
  await until(() => record() !== undefined);
  t.match(JSON.parse(record() ?? ''), {
    client_ip: '127.0.0.1',
    request_id: made.headers.get('x-request-id'),
    status_code: 200,
  });
  t.match(made.headers.get('x-request-id'), /^[0-9a-f]{32}$/, 'the id is nginx’s');
  t.equal((await call('/tools/%2e%2fx')).status, 400, 'nginx repairs no target');
  const origin = await fetch(`${url}/tools`, { method: 'POST', headers: { 'x-api-key': key, origin: url } });
  t.not(origin.status, 403, 'its own origin is one');
});

t.test('two gateways over one PostgreSQL and one Redis count together, set up as it says', async (t) => {
  const postgres = await startPostgres(t);
  const redis = await startRedis(t);
  const directory = t.testdir({
    one: {},
    two: {},
    'secret-key': newSecret(),
    'api-key-hmac-key': newSecret(),
  });
  const port = Object.fromEntries(
    await Promise.all(
      ['8000', '8001', '9464', '9465', '8081'].map(async (name) => [name, await freePort()] as const),
    ),
  );
  const script = Object.entries(port)
    .reduce((text, [name, free]) => text.replaceAll(name, String(free)), block('replicated'))
    .replaceAll('/run/secrets', directory)
    .replace(/^export DATABASE_URL=.*$/m, `export DATABASE_URL='${await postgres.createDatabase()}'`)
    .replace(/REGISTRY_DATABASE_URL='[^']*'/, `REGISTRY_DATABASE_URL='${await postgres.createDatabase()}'`)
    .replace(/^export REDIS_URL=.*$/m, `export REDIS_URL='${redis.url}'`)
    .replaceAll(
      'node_modules/.bin/node registry/main.ts',
      `'${process.execPath}' '${resolve('registry/main.ts')}' &`,
    )
    .replace(/^(PORT=\S+ .* start).*in one folder$/m, '(cd one && exec_at $1) &')
    .replace(/^(PORT=\S+ .* start).*in the other$/m, '(cd two && exec_at $1) &');
  const yaml = resolve('gateway.yaml');
  const program = `'${process.execPath}' '${resolve('src/portcullis.cjs')}'`;
  const words = `npx() { shift 2; ${program} "$@" --config '${yaml}'; }\nexec_at() { env "$1" "$2" ${program} start --config '${yaml}'; }\n`;
  const { PORT: _, ...env } = process.env;
  const shell = spawn('bash', ['-eu', '-c', `${words}${script}\nwait`], {
    cwd: directory,
    env,
    detached: true,
  });
  let said = '';
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.on('data', (data) => {
      said += data;
    });
  }
  const ended = once(shell, 'close');
  t.teardown(async () => {
    if (shell.pid !== undefined) process.kill(-shell.pid, 'SIGKILL');
    await ended;
  });
  const count = (text: string) => said.split(text).length - 1;
  await until(
    () =>
      shell.exitCode !== null ||
      (count('portcullis is listening') === 2 && count('registry is listening') === 1),
  );
  t.equal(shell.exitCode, null, said);
  const key = /API key +(\S+)/.exec(said)?.[1] ?? '';
  const call = async (index: number) => {
    const url = `http://127.0.0.1:${port[index % 2 === 0 ? '8000' : '8001']}/tools`;
    const response = await fetch(url, { headers: { 'x-api-key': key } });
    await response.arrayBuffer();
    return response.status;
  };
  await until(async () => (await call(0)) === 200);
  const statuses: number[] = [];
  for (let index = 0; index < 80; index += 1) statuses.push(await call(index));
  const passed = statuses.filter((status) => status === 200).length;
  t.ok(passed < 78, `of 80 requests to both, ${passed} passed a limit of 60 a minute`);
  t.strictSame([...new Set(statuses)].sort(), [200, 429]);
});

function newSecret(): string {
  return randomBytes(48).toString('base64');
}

t.test('every link within the page leads to a heading', async (t) => {
  const headings = [...readme.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
  const links = [...readme.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor = '']) => anchor);
  t.ok(links.length > 20);
  for (const anchor of links) t.ok(headings.includes(anchor), anchor);
});
