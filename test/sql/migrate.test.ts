import t from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { openAtOnce } from './opener.ts';

const allWell = Array.from({ length: 10 }, () => 'ok');

t.test(
  'ten gateways and registries that start at once on one PostgreSQL bring it up to date once',
  async (t) => {
    const server = await startPostgres(t);
    const url = await server.createDatabase();
    t.same(await openAtOnce(10, url), allWell);
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
  t.same(await openAtOnce(10, `sqlite:${t.testdir()}/both.db`), allWell);
});
