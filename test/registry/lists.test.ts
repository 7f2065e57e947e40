import { type Kysely, sql } from 'kysely';
import t from 'tap';
import { plainTool, type TestRegistry, tablesOf, testRegistry } from './registry.ts';

async function names(registry: TestRegistry, query: string): Promise<string[]> {
  const { status, json, text } = await registry.send('GET', `/tools${query}`);
  if (status !== 200) throw new Error(text);
  return json.items.map((tool: { name: string }) => tool.name);
}

t.test('pages are in the order of registration and name their place', async (t) => {
  const registry = await testRegistry(t);
  for (const name of ['c', 'a', 'd', 'b', 'e']) await registry.add(plainTool(name));
  t.strictSame(await names(registry, ''), ['c', 'a', 'd', 'b', 'e']);
  t.strictSame(await names(registry, '?page=2&page_size=2'), ['d', 'b']);
  t.strictSame(await names(registry, '?page=3&page_size=2'), ['e']);
  t.strictSame(await names(registry, '?page=4&page_size=2'), []);
  t.strictSame(await names(registry, '?page=1000000000&page_size=100'), []);
  const { items: _, ...place } = (await registry.send('GET', '/tools?page=2&page_size=2')).json;
  t.strictSame(place, { total: 5, page: 2, page_size: 2 });
});

t.test('a page that was read stays what it was when tools are added or changed', async (t) => {
  const registry = await testRegistry(t);
  const [first] = [await registry.add(plainTool('m')), await registry.add(plainTool('n'))];
  await registry.add(plainTool('a'));
  await registry.send('PATCH', `/tools/${first.id}`, { name: 'z' });
  t.strictSame(await names(registry, '?page_size=2'), ['z', 'n']);
});

t.test('an empty catalogue is an empty first page', async (t) => {
  const registry = await testRegistry(t);
  t.strictSame((await registry.send('GET', '/tools')).json, { items: [], total: 0, page: 1, page_size: 20 });
});

t.test('a tag filters, and several tags must all be there', async (t) => {
  const registry = await testRegistry(t);
  await registry.add({ ...plainTool('one'), tags: ['x', 'a b&c'] });
  await registry.add({ ...plainTool('two'), tags: ['x', 'y'] });
  const third = await registry.add({ ...plainTool('three'), tags: ['y'] });
  t.strictSame(await names(registry, '?tag=x'), ['one', 'two']);
  t.strictSame(await names(registry, '?tag=x&tag=y'), ['two']);
  t.strictSame(await names(registry, '?tag=x&tag=x'), ['one', 'two']);
  t.strictSame(await names(registry, '?tag=X'), []);
  t.strictSame(await names(registry, `?tag=${encodeURIComponent('a b&c')}`), ['one']);
  t.strictSame(await names(registry, `?tag=${encodeURIComponent("' OR 1=1 --")}`), []);
  await registry.send('PATCH', `/tools/${third.id}`, { tags: ['x'] });
  t.strictSame(await names(registry, '?tag=x'), ['one', 'two', 'three']);
  t.strictSame(await names(registry, '?tag=y'), ['two']);
  t.equal((await registry.send('GET', '/tools?tag=x&page_size=1')).json.total, 3);
});

t.test('a parameter that is wrong is named', async (t) => {
  const registry = await testRegistry(t);
  const wrong: Array<[string, string]> = [
    ['page=0', 'page'],
    ['page=-1', 'page'],
    ['page=1.5', 'page'],
    ['page=x', 'page'],
    ['page=', 'page'],
    ['page=0x10', 'page'],
    ['page=1e3', 'page'],
    ['page=99999999999', 'page'],
    ['page=99999999999999999999', 'page'],
    ['page=1&page=2', 'page'],
    ['page_size=0', 'page_size'],
    ['page_size=101', 'page_size'],
    ['tag=', 'tag.0'],
    [`tag=${'x'.repeat(65)}`, 'tag.0'],
    ['tag=%00', 'tag.0'],
    ['tag=x&'.repeat(33), 'tag'],
  ];
  for (const [query, field] of wrong) {
    const { status, json } = await registry.send('GET', `/tools?${query}`);
    t.equal(status, 422, query);
    t.equal(json.code, 'validation_failed');
    t.equal(json.errors[0].field, field, query);
  }
});

t.test('ten thousand tools are paged without a gap or a repetition', { timeout: 60_000 }, async (t) => {
  const registry = await testRegistry(t);
  await fill(tablesOf(t, registry), 10_000);
  const seen = new Set<string>();
  for (let page = 1; page <= 100; page += 1) {
    for (const name of await names(registry, `?page=${page}&page_size=100`)) seen.add(name);
  }
  t.equal(seen.size, 10_000);
  const startedMs = performance.now();
  t.strictSame(await names(registry, '/search?q=number+9999'), ['tool_9999']);
  t.equal((await registry.send('GET', '/tools?tag=even&page=50&page_size=100')).json.total, 5_000);
  t.ok(performance.now() - startedMs < 2_000, 'in reasonable time');
});

/** Past HTTP, many in one statement: ten thousand commits would each wait for the disk. */
async function fill(tables: Kysely<unknown>, count: number): Promise<void> {
  const now = '2026-01-01T00:00:00.000Z';
  const row = (index: number) => [
    crypto.randomUUID(),
    `tool_${index}`,
    `tool ${index}`,
    `the tool number ${index}`,
    index % 2 === 0 ? '["even"]' : '[]',
  ];
  for (let first = 0; first < count; first += 1_000) {
    const rows = Array.from({ length: 1_000 }, (_, offset) => row(first + offset));
    const values = rows.map(
      (columns) => sql`(${sql.join(columns)}, '{"type":"object"}', '', '', ${now}, ${now}, 1)`,
    );
    await sql`insert into tool
      (id, name, name_words, description_words, tags, input_schema, title_words, tags_words, created_at, updated_at,
        revision)
      values ${sql.join(values)}`.execute(tables);
  }
}
