/** Output that nobody reads to its end: a command has done what was wanted of it, and a gateway goes on. */
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { freePort } from '../support/free-port.ts';
import { startTestGateway } from '../support/gateway.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';

t.test('`schema | head -1` ends in silence', async (t) => {
  const program = startProgram(['schema'], programEnv(t.testdir()));
  program.child.stdout?.destroy();
  await once(program.child, 'close');
  t.same([program.child.exitCode, program.stderr()], [0, '']);
});

t.test('`audit tail | head -1` ends in silence with the next record', async (t) => {
  const port = await freePort();
  const directory = t.testdir();
  const gateway = await startTestGateway({ directory, env: { PORT: String(port) } });
  t.teardown(() => gateway.close());
  const env = {
    ...programEnv(directory),
    PORT: String(port),
    PORTCULLIS_PASSWORD: gateway.first.password,
  };
  const tail = startProgram(['audit', 'tail', '--username', 'admin'], env);
  t.teardown(() => tail.stop('SIGKILL'));
  const ended = once(tail.child, 'close');
  const asking = setInterval(() => void fetch(`${gateway.trafficUrl}/health`), 200);
  t.teardown(() => clearInterval(asking));
  await tail.said(/health/);
  tail.child.stdout?.destroy();
  await ended;
  t.same([tail.child.exitCode, tail.stderr()], [0, '']);
});

t.test('output that cannot be written is told, with exit code 1', async (t) => {
  const { openSync, closeSync } = await import('node:fs');
  const { spawn } = await import('node:child_process');
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  const child = spawn(process.execPath, ['src/portcullis.cjs', 'schema'], {
    env: programEnv(t.testdir()),
    stdio: ['ignore', full, 'pipe'],
  });
  let said = '';
  child.stderr?.on('data', (data) => {
    said += data;
  });
  await once(child, 'close');
  t.equal(child.exitCode, 1);
  t.equal(said, 'portcullis: the output cannot be written (ENOSPC)\n');
});

t.test('a gateway whose output nobody reads any more serves on, and ends in good order', async (t) => {
  const directory = t.testdir();
  const port = await freePort();
  const env = { ...programEnv(directory), PORT: String(port), LOG_LEVEL: 'debug' };
  await runProgram(['setup'], env);
  const gateway = startProgram(['quickstart'], env);
  t.teardown(() => gateway.stop('SIGKILL'));
  await gateway.said(/Portcullis is up/);
  gateway.child.stdout?.destroy();
  gateway.child.stderr?.destroy();
  for (let count = 0; count < 3; count += 1) {
    // Told of on standard error.
    gateway.child.kill('SIGHUP');
    await sleep(300);
    t.equal((await fetch(`http://127.0.0.1:${port}/health`)).status, 200);
  }
  gateway.child.kill('SIGTERM');
  await once(gateway.child, 'exit');
  t.equal(gateway.child.exitCode, 0);
  t.equal((await runProgram(['audit', 'verify', join(directory, 'audit.log')], env)).exitCode, 0);
});
