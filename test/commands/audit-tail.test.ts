/** `portcullis audit tail` against a running gateway: what people and programs see, and what it does when it is cut off. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { recordLine } from '../../src/commands/audit-tail.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function start(t: Test): Promise<{ gateway: TestGateway; port: number; env: NodeJS.ProcessEnv }> {
  const port = await freePort();
  const directory = t.testdir();
  const gateway = await startTestGateway({ directory, env: { PORT: String(port) } });
  return { gateway, port, env: { ...programEnv(directory), PORT: String(port) } };
}

function tail(t: Test, gateway: TestGateway, env: NodeJS.ProcessEnv, ...args: string[]) {
  const program = startProgram(['audit', 'tail', '--username', 'admin', ...args], {
    ...env,
    PORTCULLIS_PASSWORD: gateway.first.password,
  });
  t.teardown(() => program.stop('SIGKILL'));
  return program;
}

t.test('people see a line a record, programs the record, and no terminal a control character', async (t) => {
  const { gateway, env } = await start(t);
  t.teardown(() => gateway.close());
  const forPeople = tail(t, gateway, env, '--status', '4xx');
  const forPrograms = tail(t, gateway, env, '--json', '--code', 'credential_missing');
  // Both are there once their own requests are on record.
  const streams = async () =>
    (await gateway.audit()).filter(
      ({ path, stage }) => path === '/admin/audit/stream' && stage === 'attempt',
    );
  while ((await streams()).length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await fetch(`${gateway.trafficUrl}/x`, { headers: { 'user-agent': 'a\u009b31mb' } });
  await forPeople.said(/^\d{4}-\S+Z {2}401 {6}GET \/x {2}- {2}credential_missing {2}[\d.]+ ms$/m);
  await forPrograms.said(/"path":"\/x"/);
  const [line = ''] = forPrograms.stdout().split('\n');
  t.match(JSON.parse(line), { path: '/x', user_agent: 'a\u009b31mb' });
  for (const shown of [forPeople.stdout(), forPrograms.stdout()])
    t.notMatch(shown.replaceAll('\n', ''), /\p{Cc}/u);
});

t.test('it goes on where it was cut off, when the gateway is started again', async (t) => {
  const { gateway, port, env } = await start(t);
  const program = tail(t, gateway, env, '--json', '--status', '401');
  const reads = async () =>
    (await gateway.audit()).some(({ path, stage }) => path === '/admin/audit/stream' && stage === 'attempt');
  while (!(await reads())) await new Promise((resolve) => setTimeout(resolve, 50));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await fetch(`${gateway.trafficUrl}/first`);
  await program.said(/"path":"\/first"/);
  await fetch(`${gateway.trafficUrl}/unseen`).catch(() => undefined);
  await gateway.close();
  const directory = join(gateway.auditPath, '..');
  const again = startProgram(['start'], {
    ...programEnv(directory),
    PORT: String(port),
    DATABASE_URL: `sqlite:${join(directory, 'portcullis.db')}`,
  });
  t.teardown(() => again.stop('SIGKILL'));
  let answered = false;
  while (!answered) {
    answered = await fetch(`http://127.0.0.1:${port}/second`).then(
      () => true,
      () => false,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await program.said(/"path":"\/second"/);
  const paths = program
    .stdout()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { path: string }).path);
  t.strictSame([...new Set(paths)].slice(0, 3), ['/first', '/unseen', '/second']);
});

t.test('what cannot work ends with a sentence', async (t) => {
  const { gateway, env } = await start(t);
  t.teardown(() => gateway.close());
  for (const [args, extra, sentence] of [
    [[], {}, /an admin's access token is needed/],
    [[], { PORTCULLIS_TOKEN: 'nonsense' }, /the token was not accepted/],
    [[], { PORTCULLIS_TOKEN: gateway.first.key.key }, /403: /],
    [
      ['--username', 'admin'],
      { PORTCULLIS_PASSWORD: 'wrong' },
      /the username or the password was not accepted/,
    ],
    [['--status', 'odd'], { PORTCULLIS_TOKEN: 'nonsense' }, /the token was not accepted|422/],
    [['--url', 'ftp://x'], { PORTCULLIS_TOKEN: 'nonsense' }, /--url is a URL/],
  ] as const) {
    const ended = await runProgram(['audit', 'tail', ...args], { ...env, ...extra });
    t.equal(ended.exitCode, 1);
    t.match(ended.stderr, sentence);
    t.notMatch(ended.stderr, / at .*\.ts:/);
  }
});

t.test('a record that somebody else made up writes no colours, no cursor moves, no lines', async (t) => {
  const record = {
    timestamp: 0,
    stage: 'complete',
    status_code: 200,
    method: 'GET\r\n',
    path: '/\u001b[2J\u202eevil\ud800\u2028',
    principal: '\u0007\u009b31m',
    decision: 'allow',
    code: null,
    process_time: 0.0015,
  };
  t.equal(recordLine(record, false), '1970-01-01T00:00:00.000Z  200      GET?? /?[2J?evil??  ??31m  1.5 ms');
  t.ok(recordLine(record, true).includes('\u001b[32m200    \u001b[0m'));
  t.equal(recordLine({ timestamp: 'x' }, false), '-  -        - -  -');
});

t.test('a token never stands on the command line', async (t) => {
  const [command = ''] = /function addAuditTail[\s\S]*?\n}/.exec(readFileSync('src/main.ts', 'utf8')) ?? [];
  t.match(command, '--token-stdin');
  t.notMatch(command, /--token </);
});
