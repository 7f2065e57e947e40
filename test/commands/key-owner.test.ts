/** A key made for somebody, as it is typed. */
import t from 'tap';
import { programEnv, runProgram } from '../support/program.ts';

t.test('a key is made for a user by name, and is disabled with that user', async (t) => {
  const env = programEnv(t.testdir());
  await runProgram(['setup'], env);
  await runProgram(['user', 'create', '--username', 'Ada'], env);
  const nobody = await runProgram(['key', 'create', '--name', 'ci', '--owner', 'bob'], env);
  t.equal(nobody.exitCode, 1);
  t.match(nobody.stderr, /there is no user bob/);
  const made = await runProgram(['key', 'create', '--name', 'ci', '--owner', 'ada', '--json'], env);
  t.equal(made.exitCode, 0, made.stderr);
  const { items } = JSON.parse((await runProgram(['user', 'list', '--json'], env)).stdout);
  const ada = items.find(({ username }: { username: string }) => username === 'Ada');
  t.equal(JSON.parse(made.stdout).owner, ada.id);
  await runProgram(['user', 'disable', 'ada'], env);
  const listed = JSON.parse((await runProgram(['key', 'list', '--json'], env)).stdout).items.at(-1);
  t.match(listed, { owner: ada.id, is_active: true }, 'the key itself was not changed');
});
