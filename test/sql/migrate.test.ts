import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import t from 'tap';
import { startPostgres } from '../support/postgres.ts';

const opener = join(import.meta.dirname, 'opener.ts');

/** What each of ten processes says that open the same new database at the same moment. */
async function tenAtOnce(url: string): Promise<string[]> {
  const programs = Array.from({ length: 10 }, () => fork(opener, [url]));
  await Promise.all(programs.map((program) => once(program, 'message')));
  const answers = programs.map((program) => once(program, 'message'));
  const exits = programs.map((program) => once(program, 'exit'));
  for (const program of programs) program.send('go');
  const said = await Promise.all(answers);
  await Promise.all(exits);
  return said.map(([answer]) => String(answer));
}

const allWell = Array.from({ length: 10 }, () => 'ok');

t.test(
  'ten gateways and registries that start at once on one PostgreSQL bring it up to date once',
  async (t) => {
    const server = await startPostgres(t);
    const url = await server.createDatabase();
    t.same(await tenAtOnce(url), allWell);
    const client = await server.connect(url);
    const names = async (table: string) =>
      (await client.query(`select name from ${table}`)).rows.map(({ name }) => name);
    const [gateway, registry] = [await names('portcullis_migration'), await names('registry_migration')];
    await client.end();
    t.ok(gateway.includes('0001_identity') && registry.includes('0001_tools'), 'one database holds both');
    t.equal(new Set(gateway).size, gateway.length);
  },
);

t.test('and so do ten on one SQLite file', async (t) => {
  t.same(await tenAtOnce(`sqlite:${t.testdir()}/both.db`), allWell);
});
