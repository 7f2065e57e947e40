/** What `npm start` says to an operator whose gateway.yaml does not fit the registry. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { programEnv, startProgram } from '../support/program.ts';

t.test('routes whose requests the registry will refuse are named at the start', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'gateway.yaml');
  const old = readFileSync('gateway.yaml', 'utf8')
    .replaceAll(', assertion: true', '')
    .replaceAll(/^ *assertion: true\n/gm, '');
  writeFileSync(path, old);
  const program = startProgram(['quickstart', '--config', path], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  const [, url] = await program.said(/traffic +(\S+)/);
  const [, key] = await program.said(/API key +(\S+)/);
  await program.said(/\/tools: the registry answers 401 until its route has assertion: true/);
  await program.said(/\/tools\/\*: the registry answers 401 until its route has assertion: true/);
  const response = await fetch(`${url}/tools`, { headers: { 'x-api-key': key ?? '' } });
  t.equal(response.status, 401, 'and so it is');
});
