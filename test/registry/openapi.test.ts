import { Ajv2020 } from 'ajv/dist/2020.js';
import t from 'tap';
import { plainTool, type TestRegistry, testRegistry } from './registry.ts';

async function document(registry: TestRegistry) {
  return (await registry.send('GET', '/openapi.json')).json;
}

/** Validators made from the document's own components. */
async function components(registry: TestRegistry): Promise<(name: string) => (value: unknown) => boolean> {
  const { schemas } = (await document(registry)).components;
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'https://openapi.test/', components: { schemas } });
  return (name) => ajv.compile({ $ref: `https://openapi.test/#/components/schemas/${name}` });
}

const full = {
  ...plainTool('get_weather'),
  title: 'Weather',
  outputSchema: { type: 'object' },
  annotations: { readOnlyHint: true },
  tags: ['a'],
  server: { transport: 'stdio' },
};

t.test('the document names every endpoint, and every reference in it leads somewhere', async (t) => {
  const registry = await testRegistry(t);
  const openapi = await document(registry);
  t.match(openapi.openapi, /^3\.1\./);
  t.strictSame(
    Object.entries(openapi.paths).map(([path, item]) => [path, Object.keys(item as object).sort()]),
    [
      ['/health', ['get']],
      ['/tools', ['get', 'post']],
      ['/tools/search', ['get']],
      ['/tools/{id}', ['delete', 'get', 'parameters', 'patch', 'put']],
    ],
  );
  const references = JSON.stringify(openapi).match(/"\$ref":"[^"]+"/g) ?? [];
  t.ok(references.length > 10);
  for (const reference of references) {
    const name = /^"\$ref":"#\/components\/schemas\/(\w+)"$/.exec(reference)?.[1];
    t.ok(name !== undefined && Object.hasOwn(openapi.components.schemas, name), reference);
  }
  const operationIds = JSON.stringify(openapi).match(/"operationId":"\w+"/g) ?? [];
  t.equal(new Set(operationIds).size, operationIds.length);
});

t.test('what the registry answers is what the document says', async (t) => {
  const registry = await testRegistry(t);
  const validator = await components(registry);
  const created = await registry.send('POST', '/tools', full, { 'x-auth-subject': 'user:1' });
  t.ok(validator('Tool')(created.json));
  t.ok(validator('Tool')(await registry.add(plainTool('bare'))));
  t.ok(validator('ToolList')((await registry.send('GET', '/tools')).json));
  t.ok(validator('Problem')((await registry.send('POST', '/tools', {})).json));
});

t.test('what the document refuses, the registry refuses, and the other way round', async (t) => {
  const registry = await testRegistry(t);
  const validator = await components(registry);
  const { id } = await registry.add(plainTool('one'));
  const inputs = [
    full,
    {},
    { ...full, x: 1 },
    { ...full, name: 'a b' },
    { ...full, server: { transport: 'sse' } },
  ];
  for (const input of inputs) {
    const { status } = await registry.send('PUT', `/tools/${id}`, input);
    t.equal(validator('ToolInput')(input), status === 200, JSON.stringify(input));
  }
  for (const patch of [
    {},
    { title: null },
    { tags: null },
    { name: null },
    { inputSchema: null },
    { x: 1 },
  ]) {
    const { status } = await registry.send('PATCH', `/tools/${id}`, patch);
    t.equal(validator('ToolPatch')(patch), status === 200, JSON.stringify(patch));
  }
});
