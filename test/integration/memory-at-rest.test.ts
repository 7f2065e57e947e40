/** What the program takes while there is nothing to do, as it is shipped. */
import t from 'tap';
import { programEnv, startProgram } from '../support/program.ts';

const mebibyte = 1024 ** 2;

t.test('after its first request a gateway takes 130 MiB at most', async (t) => {
  const directory = t.testdir();
  const program = startProgram(['start', '--config', 'gateway.yaml'], {
    ...programEnv(directory),
    LOG_LEVEL: 'info',
  });
  t.teardown(() => program.stop('SIGKILL'));
  const said = (name: string) => new RegExp(`"${name}":"([^"]+)"`).exec(program.stderr())?.[1];
  for (let tries = 0; tries < 1_000 && said('operations') === undefined; tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const answer = await fetch(`${said('traffic')}/health`);
  t.equal(answer.status, 200);
  const metrics = await (await fetch(`${said('operations')}/metrics`)).text();
  const bytes = Number(/^process_resident_memory_bytes (\d+)/m.exec(metrics)?.[1]);
  t.comment(`${Math.round(bytes / mebibyte)} MiB`);
  t.ok(bytes > 0 && bytes <= 130 * mebibyte, `${Math.round(bytes / mebibyte)} MiB`);
});
