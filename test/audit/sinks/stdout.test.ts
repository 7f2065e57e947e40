/** The audit log on standard output, of the program itself: read, not read, and read no more. */
import { getEventListeners } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { StdoutReceiver } from '../../../src/audit/sinks/stdout.ts';
import { type Program, programEnv, runProgram, startProgram } from '../../support/program.ts';
import { until } from './delivering.ts';

interface Started {
  readonly program: Program;
  readonly url: string;
}

/** @param sinks as in gateway.yaml */
async function start(t: Test, sinks: string): Promise<Started> {
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  const yaml = readFileSync('gateway.yaml', 'utf8').replace(/- \{ type: file.*/, sinks);
  writeFileSync(config, yaml.replaceAll(/rate: [^}]*\/minute"? }/g, 'rate: 100000/minute }'));
  const env = { ...programEnv(directory), LOG_LEVEL: 'info', ADMIN_PASSWORD: 'correct horse battery' };
  const made = await runProgram(['setup', '--config', config, '--json'], env);
  t.equal(made.exitCode, 0, made.stderr);
  t.ok(JSON.parse(made.stdout), 'a command keeps its output to itself');
  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop('SIGKILL'));
  await until(() => program.stderr().includes('portcullis is listening'));
  const url = /"traffic":"([^"]+)"/.exec(program.stderr())?.[1] ?? '';
  return { program, url };
}

async function logIn(url: string): Promise<number> {
  const response = await fetch(`${url}/auth/login`, {
    method: 'POST',
    body: new URLSearchParams({ username: 'admin', password: 'correct horse battery' }),
  });
  await response.text();
  return response.status;
}

/** As many reads as no pipe holds the records of. */
async function fill(url: string): Promise<void> {
  const query = 'x'.repeat(1_900);
  for (let round = 0; round < 20; round += 1) {
    const asked = [...Array(25).keys()].map(() => fetch(`${url}/nothing?${query}`));
    await Promise.all(asked.map(async (response) => (await response).text()));
  }
}

t.test('a login is on standard output before it is answered', async (t) => {
  const { program, url } = await start(t, '- { type: stdout }');
  t.equal(await logIn(url), 200);
  await until(() => program.stdout().includes('"stage":"complete"'));
  const records = program
    .stdout()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))
    .filter(({ path }) => path === '/auth/login');
  t.match(records, [
    { stage: 'attempt', path: '/auth/login' },
    { stage: 'complete', status_code: 200 },
  ]);
  t.equal((await program.stop()).exitCode, 0);
});

t.test(
  'nobody reads: what must be on record is refused after a moment, and passes again once somebody reads',
  async (t) => {
    const { program, url } = await start(t, '- { type: stdout }');
    t.equal(await logIn(url), 200);
    program.child.stdout?.pause();
    await fill(url);
    await until(() => program.stderr().includes('the audit log cannot be written'));
    t.equal(await logIn(url), 503);
    program.child.stdout?.resume();
    await until(() => program.stderr().includes('the audit log takes records again'));
    t.equal(await logIn(url), 200);
    const lines = program.stdout().split('\n').slice(0, -1);
    const seqs = lines.map((line) => (JSON.parse(line) as { seq: number }).seq);
    t.strictSame(
      seqs,
      [...seqs].sort((a, b) => a - b),
      'whole, and in order',
    );
  },
);

t.test('the reader has gone: the program lives, and refuses what must be on record', async (t) => {
  const { program, url } = await start(t, '- { type: stdout }');
  program.child.stdout?.destroy();
  await logIn(url);
  t.equal(await logIn(url), 503);
  t.equal((await fetch(`${url}/health`)).status, 200);
  t.match(program.stderr(), /EPIPE/);
  t.equal((await program.stop()).exitCode, 0);
});

t.test('beside a file, standard output that nobody reads holds up nothing', async (t) => {
  const { program, url } = await start(
    t,
    '- { type: file, path: audit.log }\n    - { type: stdout, buffer: 64KiB }',
  );
  program.child.stdout?.pause();
  await fill(url);
  t.equal(await logIn(url), 200);
  const metrics = await (
    await fetch(`${/"operations":"([^"]+)"/.exec(program.stderr())?.[1]}/metrics`)
  ).text();
  const dropped = Number(/portcullis_audit_dropped_total\{sink="stdout"\} (\d+)/.exec(metrics)?.[1]);
  t.ok(dropped > 0, `${dropped} dropped`);
  t.match(metrics, 'portcullis_audit_dropped_total{sink="file"} 0');
});

t.test('a batch that was written leaves nothing behind in what ends the deliveries', async (t) => {
  const receiver = new StdoutReceiver(async () => undefined);
  const { signal } = new AbortController();
  for (let batch = 0; batch < 100; batch += 1) await receiver.send(['line\n'], signal);
  t.equal(getEventListeners(signal, 'abort').length, 0);
});
