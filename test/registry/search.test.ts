import fc from 'fast-check';
import t from 'tap';
import { nameWords, queryWords, wordsOf } from '../../registry/search.ts';
import { plainTool, type TestRegistry, testRegistry } from './registry.ts';

async function found(registry: TestRegistry, query: string, more = ''): Promise<string[]> {
  const { status, json, text } = await registry.send(
    'GET',
    `/tools/search?q=${encodeURIComponent(query)}${more}`,
  );
  if (status !== 200) throw new Error(`${query}: ${text}`);
  return json.items.map((tool: { name: string }) => tool.name);
}

t.test('all words must be in the tool, in any order and any field', async (t) => {
  const registry = await testRegistry(t);
  await registry.add({
    ...plainTool('get_weather'),
    description: 'The forecast for a city',
    tags: ['meteo'],
  });
  await registry.add({ ...plainTool('get_time'), title: 'Time in a city' });
  t.strictSame(await found(registry, 'city weather'), ['get_weather']);
  t.strictSame(await found(registry, 'FORECAST, get!'), ['get_weather']);
  t.strictSame(await found(registry, 'meteo'), ['get_weather']);
  t.strictSame((await found(registry, 'city')).sort(), ['get_time', 'get_weather']);
  t.strictSame(await found(registry, 'weather time'), []);
  t.strictSame(await found(registry, 'unheard'), []);
});

t.test('words are found inside names, however they are joined', async (t) => {
  const registry = await testRegistry(t);
  for (const name of [
    'get_weather',
    'get-weather',
    'weather.get',
    'getWeather',
    'getHTTPWeather',
    'Weather2day',
  ])
    await registry.add(plainTool(name));
  t.equal((await found(registry, 'weather')).length, 6);
  t.strictSame(await found(registry, 'http weather'), ['getHTTPWeather']);
  t.strictSame(await found(registry, 'getHTTPWeather'), ['getHTTPWeather']);
  t.equal((await found(registry, 'get_weather')).length, 5);
});

t.test('the last word may be the beginning of one, the others may not', async (t) => {
  const registry = await testRegistry(t);
  await registry.add(plainTool('get_weather'));
  t.strictSame(await found(registry, 'get wea'), ['get_weather']);
  t.strictSame(await found(registry, 'wea get'), []);
});

t.test('case and accents do not matter, and scripts other than Latin are found', async (t) => {
  const registry = await testRegistry(t);
  await registry.add({
    ...plainTool('one'),
    title: 'Café Überblick',
    description: 'мир मौसम 天気予報 rain🌦sun🌞',
  });
  for (const query of [
    'cafe',
    'CAFÉ',
    'uberblick',
    'Мир',
    'मौसम',
    '天気',
    'rain',
    'sun',
    'rain sun',
    'cafe\u0301',
  ]) {
    t.strictSame(await found(registry, query), ['one'], query);
  }
});

t.test('a match in the name ranks over one in the description', async (t) => {
  const registry = await testRegistry(t);
  await registry.add({ ...plainTool('first'), description: 'weather weather weather' });
  await registry.add({ ...plainTool('second'), description: 'x', tags: ['weather'] });
  await registry.add({ ...plainTool('third'), title: 'Weather' });
  await registry.add(plainTool('weather'));
  for (let index = 0; index < 20; index += 1) await registry.add(plainTool(`other_${index}`));
  t.strictSame(await found(registry, 'weather'), ['weather', 'third', 'second', 'first']);
});

t.test('a search is paged and filtered like a list', async (t) => {
  const registry = await testRegistry(t);
  for (let index = 0; index < 5; index += 1) {
    await registry.add({ ...plainTool(`weather_${index}`), tags: [index === 3 ? 'odd' : 'even'] });
  }
  t.strictSame(await found(registry, 'weather', '&page=2&page_size=2'), ['weather_2', 'weather_3']);
  t.strictSame(await found(registry, 'weather', '&tag=odd'), ['weather_3']);
  const { items: _, ...place } = (await registry.send('GET', '/tools/search?q=weather&page=3&page_size=2'))
    .json;
  t.strictSame(place, { total: 5, page: 3, page_size: 2 });
});

t.test('a change of a tool is a change of what finds it', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add({ ...plainTool('alpha'), description: 'beta' });
  await registry.send('PATCH', `/tools/${tool.id}`, { name: 'gamma', description: null });
  t.strictSame(await found(registry, 'alpha'), []);
  t.strictSame(await found(registry, 'beta'), []);
  t.strictSame(await found(registry, 'gamma'), ['gamma']);
});

t.test('nothing in a query is an operator', async (t) => {
  const registry = await testRegistry(t);
  await registry.add({ ...plainTool('one'), description: 'red green' });
  await registry.add({ ...plainTool('two'), description: 'red or near and not blue' });
  const none = ['green OR blue', 'NEAR(red green)', 'red NOT blue green', 'name_words:red', '{title}: red'];
  for (const query of none) t.strictSame(await found(registry, query), [], query);
  const one = [
    '"green',
    'green"',
    '^green',
    'green*',
    '-green',
    'red + green',
    "red' green",
    '(red green',
    'gre\0en',
  ];
  for (const query of one.slice(0, -1)) t.strictSame(await found(registry, query), ['one'], query);
  t.strictSame(await found(registry, 'gre\0en'), []);
  t.strictSame(await found(registry, 'red OR'), ['two']);
  t.strictSame(await found(registry, 'blue AND NOT'), ['two']);
  t.strictSame(await found(registry, '\ud83c\udf26 green \u202e'), ['one']);
});

t.test('a query without a word, or with too many, is refused', async (t) => {
  const registry = await testRegistry(t);
  const wrong = ['', '?q=', '?q=%20%09', '?q=*', '?q=%22%22', '?q=%00', '?q=---', '?q=%CC%81', '?q=a&q=b'];
  wrong.push(`?q=${'a+'.repeat(17)}`, `?q=${'a'.repeat(201)}`);
  for (const query of wrong) {
    const { status, json } = await registry.send('GET', `/tools/search${query}`);
    t.match(
      { status, json },
      { status: 422, json: { code: 'validation_failed', errors: [{ field: 'q' }] } },
      query,
    );
  }
});

t.test('any query is answered, and any word of a tool finds it', { timeout: 60_000 }, async (t) => {
  const registry = await testRegistry(t);
  const unit = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }));
  const text = unit.map((one) => one.replaceAll('\0', ' '));
  let count = 0;
  const property = fc.asyncProperty(text, async (description) => {
    count += 1;
    const name = `tool${count}`;
    await registry.add({ ...plainTool(name), description });
    const words = wordsOf(description).slice(0, 15);
    const { status } = await registry.send('GET', `/tools/search?q=${encodeURIComponent(description)}`);
    t.ok(status === (wordsOf(description).length === 0 ? 422 : 200));
    // Of letters that are younger than the tables of the index, it can find none.
    const known = words.filter((word) =>
      /^[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\d]+$/u.test(word),
    );
    if (known.length > 0)
      t.ok((await found(registry, `${known.join(' ')} ${name}`)).includes(name), description);
  });
  await fc.assert(property, { numRuns: 150 });
});

t.test('the words of a query hold nothing but letters, marks and digits', (t) => {
  const property = fc.property(fc.string({ unit: 'binary' }), (query) => {
    for (const word of wordsOf(query)) if (!/^[\p{L}\p{M}\p{N}]+$/u.test(word)) return false;
    return true;
  });
  fc.assert(property);
  t.strictSame(wordsOf(' a-b  "c" OR d* '), ['a', 'b', 'c', 'OR', 'd']);
  t.end();
});

t.test('a name is split where its case changes', (t) => {
  t.equal(nameWords('getHTTPStatus'), 'gethttpstatus get http status');
  t.equal(nameWords('s3Upload'), 's3upload s3 upload');
  t.equal(nameWords('get_weather'), 'get weather');
  t.equal(nameWords('ALL_CAPS'), 'all caps');
  t.end();
});

t.test('words are compared without case, and without accents on Latin letters', (t) => {
  t.strictSame(queryWords('CAFÉ cafe\u0301 İstanbul ΟΔΟΣ οδος Ångström'), [
    'cafe',
    'cafe',
    'istanbul',
    'οδοσ',
    'οδοσ',
    'angstrom',
  ]);
  t.strictSame(queryWords('мой मौसम 天気 한국'), ['мой', 'मौसम', '天気', '한국']);
  t.equal(queryWords('x'.repeat(5_000))[0]?.length, 256);
  t.end();
});
