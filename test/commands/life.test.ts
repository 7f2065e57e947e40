/** What the command line does for the life of keys and for users whom others try to be. */
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/clock.ts';
import { configSchema } from '../../src/config/schema.ts';
import { Refusal } from '../../src/errors.ts';
import { openIdentity } from '../../src/identity/store.ts';
import { programEnv, runProgram } from '../support/program.ts';

t.test('a key is rotated with an overlap, and found while nobody uses it', async (t) => {
  const env = programEnv(t.testdir());
  const run = async (...args: string[]) => {
    const ended = await runProgram(args, env);
    t.equal(ended.exitCode, 0, ended.stderr);
    return ended.stdout;
  };
  const { id } = JSON.parse(await run('setup', '--json'));
  const rotated = await run('key', 'rotate', id, '--overlap', '1h');
  t.match(rotated, /the old secret works until 2\d{3}-\d\d-\d\dT/);
  t.match(await run('key', 'list', '--idle'), new RegExp(`${id}\tdefault\t.*\tnever used \\(idle\\)`));
  const tooLong = await runProgram(['key', 'rotate', id, '--overlap', '8d'], env);
  t.equal(tooLong.exitCode, 1);
  t.match(tooLong.stderr, /overlap: .*up to 7d/);
});

t.test('a lock is shown by `user list` and lifted by `user unlock`', async (t) => {
  const directory = t.testdir();
  const env = programEnv(directory);
  await runProgram(['setup'], env);
  const identity = await openIdentity({
    config: {
      database: `sqlite:${join(directory, 'data/portcullis.db')}`,
      auth: configSchema.shape.auth.parse({ lockout: { longest: '1d', first: '1d' } }),
    },
    clock: systemClock,
    onError: (error) => t.fail(String(error)),
  });
  t.teardown(() => identity.close());
  for (let count = 0; count < 10; count += 1) {
    await t.rejects(identity.users.authenticate('admin', 'wrong', '203.0.113.9'), Refusal);
  }
  const list = async () => (await runProgram(['user', 'list'], env)).stdout;
  t.match(await list(), /admin\tadmin\tactive\t1 address locked out, until 2\d{3}-/);
  t.match(await runProgram(['user', 'unlock', 'Admin'], env), {
    exitCode: 0,
    stdout: /lifted the locks of admin/,
  });
  t.notMatch(await list(), /locked out/);
});
