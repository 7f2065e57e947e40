/** Whether the two databases answer a search alike, since each has an index of its own kind. */
import { join } from 'node:path';
import t from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { plainTool, type TestRegistry, temporaryDirectory, testRegistry, useDatabases } from './registry.ts';

const server = await startPostgres(t);

/** The same sequence at every run. */
function dice(seed: number) {
  let state = seed;
  return (sides: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

const vocabulary =
  'weather wea Weather get_weather getHTTPStatus http status a an the of v1.2 3 s3Upload café CAFE naïve Ångström ' +
  'Straße strasse İstanbul ΟΔΟΣ οδος мой Мой мои मौसम 天気予報 天気 서울 user@example.com https://x.example/y?z=1 ' +
  "o'clock O'Reilly a&b a|b !not (par) <-> foo:* \\ back -minus rain🌦sun NEAR OR AND NOT";
const words = vocabulary.split(' ');

async function both(t: Parameters<typeof testRegistry>[0]) {
  useDatabases(() => server.createDatabase());
  const postgres = await testRegistry(t);
  const folder = temporaryDirectory(t);
  useDatabases(async () => `sqlite:${join(folder, 'registry.db')}`);
  return { postgres, sqlite: await testRegistry(t) };
}

async function names(registry: TestRegistry, query: string): Promise<string[] | number> {
  const { status, json } = await registry.send(
    'GET',
    `/tools/search?page_size=100&q=${encodeURIComponent(query)}`,
  );
  return status === 200 ? json.items.map(({ name }: { name: string }) => name) : status;
}

t.test('any search finds the same tools in SQLite and in PostgreSQL', async (t) => {
  const { postgres, sqlite } = await both(t);
  const roll = dice(7);
  const some = (count: number) =>
    Array.from({ length: roll(count) + 1 }, () => words[roll(words.length)] ?? '').join(' ');
  for (let index = 0; index < 80; index += 1) {
    const name = `${(words[roll(words.length)] ?? '').replace(/[^A-Za-z0-9_.-]/g, '')}_${index}`;
    const tool = { ...plainTool(name), title: some(3), description: some(12), tags: [some(1)] };
    await postgres.add(tool);
    await sqlite.add(tool);
  }
  let hits = 0;
  for (let index = 0; index < 300; index += 1) {
    const full = some(2);
    const query = roll(2) === 0 ? full : full.slice(0, -1);
    const [one, two] = [await names(postgres, query), await names(sqlite, query)];
    t.same(Array.isArray(one) ? one.sort() : one, Array.isArray(two) ? two.sort() : two, query);
    if (Array.isArray(one)) hits += one.length;
  }
  t.ok(hits > 300, `they do find something: ${hits}`);
});

t.test(
  'both rank a name over a title over a tag over a description, and the shorter over the longer',
  async (t) => {
    const { postgres, sqlite } = await both(t);
    for (const registry of [postgres, sqlite]) {
      await registry.add({ ...plainTool('d2'), description: `weather ${'and other things '.repeat(40)}` });
      await registry.add({ ...plainTool('d1'), description: 'weather' });
      await registry.add({ ...plainTool('tag'), tags: ['weather'] });
      await registry.add({ ...plainTool('title'), title: 'Weather' });
      await registry.add(plainTool('weather'));
      for (let index = 0; index < 20; index += 1) await registry.add(plainTool(`other_${index}`));
      t.same(await names(registry, 'weather'), ['weather', 'title', 'tag', 'd1', 'd2']);
    }
  },
);

t.test('the longest tool there may be is stored and found', async (t) => {
  const { postgres } = await both(t);
  await postgres.add({ ...plainTool('words'), description: 'a1 '.repeat(5_461) });
  await postgres.add({ ...plainTool('word'), description: 'x'.repeat(16_384) });
  const distinct = Array.from({ length: 3_000 }, (_, index) => index.toString(36)).join(' ');
  await postgres.add({ ...plainTool('distinct'), description: distinct });
  t.same(await names(postgres, 'a1'), ['words', 'distinct']);
  t.same(await names(postgres, 'x'.repeat(200)), ['word']);
  t.same(await names(postgres, `distinct ${(2_999).toString(36)}`), ['distinct']);
});
