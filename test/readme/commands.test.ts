/** Every command of our own program that the README names is run, and says what the README says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { freePort } from '../support/free-port.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { block, command, inlineCommands, ownCommand } from '../support/readme.ts';
import { until } from '../support/redis.ts';
import { shell } from './shell.ts';

/** The gateway alone, whose service is not there. */
const directory = t.testdir({ 'gateway.yaml': readFileSync('gateway.yaml', 'utf8') });
const traffic = `http://127.0.0.1:${await freePort()}`;
const env: NodeJS.ProcessEnv = {
  ...programEnv(directory),
  PORT: new URL(traffic).port,
  REGISTRY_URL: 'http://127.0.0.1:9',
};
const run = (script: string, more: NodeJS.ProcessEnv = {}) => shell(script, directory, { ...env, ...more });
const first = JSON.parse((await runProgram(['setup', '--json'], env)).stdout) as Record<
  'id' | 'key' | 'password',
  string
>;
const program = startProgram(['start'], env, { cwd: directory });
t.teardown(() => program.stop('SIGKILL'));
const get = (path: string) => fetch(traffic + path, { headers: { 'x-api-key': first.key } });
await until(async () => (await get('/livez').catch(() => undefined)) !== undefined);

/** What stands for something of the operator's own. */
const placeholders: Readonly<Record<string, () => Promise<string>>> = {
  ID: async () => {
    const made = await run('portcullis key create --name placeholder --permissions read --json');
    return JSON.parse(made.stdout).id;
  },
  USERNAME: async () => 'admin',
  NAME: async () => 'admin',
  F: async () => 'gateway.yaml',
};

async function filledIn(text: string): Promise<string> {
  let result = text;
  for (const [word, value] of Object.entries(placeholders)) {
    const pattern = new RegExp(`\\b${word}\\b`, 'g');
    if (pattern.test(result)) result = result.replace(pattern, await value());
  }
  return result;
}

/** Where only the name of a command stands, or what it may be followed by. */
const isSynopsis = (words: string) => /[/[<]|\bMETHOD\b|^\w+$|^audit tail$|^key create$/.test(words);

/** `key create/list` → `key create`, `key list`; what may follow is left out. */
function named(words: string): string[] {
  const [group = '', rest = ''] = words.replace(/ (?:\[|[A-Z]).*$/, '').split(/ (.*)/s);
  return rest.split('/').map((one) => `${group} ${one}`.trim());
}

const own = [...new Set(inlineCommands.map(({ text }) => text).filter((text) => ownCommand.test(text)))];
const elsewhere = [
  command('npx --no portcullis audit verify --head'),
  command('npx --no portcullis audit verify "$OLD'),
];
const here = own.filter((text) => !elsewhere.includes(text)).map((text) => text.replace(ownCommand, ''));

t.test('each command that is named is one of the program’s, with help', async (t) => {
  const names = new Set(here.filter((words) => isSynopsis(words) && !words.startsWith('<')).flatMap(named));
  t.ok(names.size >= 15, [...names].join(', '));
  const listed = new Map<string, Promise<string[]>>();
  for (const name of names) {
    const [group = '', one = ''] = name.includes(' ') ? name.split(' ') : ['', name];
    if (!listed.has(group)) listed.set(group, commandsOf(group));
    t.ok((await listed.get(group))?.includes(one), name);
  }
});

/** What the help of a group of commands lists; of the program itself without one. */
async function commandsOf(group: string): Promise<string[]> {
  const { stdout } = await run(`${command('npx --no -- portcullis --help').replace('--help', group)} --help`);
  const list = stdout.split('Commands:\n')[1]?.split('\n\n')[0] ?? '';
  return [...list.matchAll(/^ {2}([\w-]+)/gm)].map(([, name = '']) => name);
}

t.test('each whole command does what it says', async (t) => {
  const whole = here.filter((words) => !isSynopsis(words) && !words.startsWith('audit tail'));
  t.ok(whole.length >= 10, whole.join(', '));
  for (const words of new Set(whole)) {
    const script = `npx --no portcullis ${await filledIn(words)}`;
    const { exitCode, stdout, stderr } = await run(
      `${script} || test $? -eq ${words.startsWith('audit') ? 3 : 0}`,
    );
    t.equal(exitCode, 0, `${script}: ${stderr}`);
    t.not(stdout, '', script);
  }
});

t.test('every command of the program is in the README', async (t) => {
  const words = new Set(here.map((text) => text.split(' ')[0]));
  const groups = (await commandsOf('')).filter((name) => name !== 'help');
  t.ok(groups.length >= 9);
  for (const name of groups) t.ok(words.has(name), name);
});

t.test('`explain` answers what the README shows', async (t) => {
  const [line = '', ...shown] = block('explain').split('\n');
  const { stdout } = await run(line.replace(/^\$ /, ''), { KEY: first.key });
  t.equal(stdout.replaceAll(first.id, '4fXabcdefghi'), shown.join('\n'));
});

t.test('the log is verified as it says, on another machine too', async (t) => {
  t.equal((await get('/tools')).status, 502);
  const said = await run(block('verify'));
  t.equal(said.exitCode, 0, said.stderr);
  t.match(said.stdout, /^as it was written: /m);
  t.match(readFileSync(join(directory, 'audit.head'), 'utf8'), /^[0-9a-f]{32}:\d+:[\w-]{43}\n$/);
});

for (const [title, script, more] of [
  ['as the block has it', block('audit-tail').trim(), { PASSWORD: first.password }],
  [
    'as the table has it',
    `printf %s "$PASSWORD" | ${command('portcullis audit tail --username')}`,
    { PASSWORD: first.password },
  ],
] as const) {
  t.test(`the log is followed, ${title}`, async (t) => {
    const opened = () =>
      readFileSync(join(directory, 'audit.log'), 'utf8').split('/admin/audit/stream').length;
    const before = opened();
    // It ends with whoever reads its output.
    const followed = run(`${script} --url ${traffic} --json | head -n 1`, more);
    let ended = false;
    void followed.then(() => {
      ended = true;
    });
    await until(async () => {
      // No sooner than it listens, and not too often: the login is under the same limit.
      if (opened() > before) await get('/nowhere');
      await delay(500);
      return ended;
    });
    t.match(JSON.parse((await followed).stdout), { path: String, stage: String });
  });
}

t.test('jq counts what an alert asks about', async (t) => {
  t.equal((await get('/tools')).status, 502);
  const count = command('jq ');
  await until(async () => /upstream_unreachable/.test((await run(count)).stdout));
  t.match((await run(count)).stdout, /^ +\d+ upstream_unreachable$/m);
});

t.test('the database’s URL is one', async (t) => {
  const [, url = ''] = /^DATABASE_URL='([^']*)'$/m.exec(block('postgres-url')) ?? [];
  const authority = join(directory, 'db-ca.pem');
  t.match(url, 'sslrootcert=/etc/portcullis/db-ca.pem');
  const made = await run(
    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=db -keyout /dev/null -out '${authority}'`,
  );
  t.equal(made.exitCode, 0, made.stderr);
  const checked = (given: string) => {
    const secrets = {
      SECRET_KEY: 'q9V2rT7yL4nX8bK1mZ5cJ3wH6dP0sGfA',
      API_KEY_HMAC_KEY: 'e2W8uR5tY9iO1pA4sD7fG0hJ3kL6zXcV',
    };
    return run('portcullis check', { ...secrets, DATABASE_URL: given });
  };
  t.match(await checked(url.replace('/etc/portcullis/db-ca.pem', authority)), { exitCode: 0 });
  t.match(await checked(url.replace('verify-full', 'prefer')), { exitCode: 1 }, 'and a wrong one is told');
});
