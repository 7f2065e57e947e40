import t from 'tap';
import { type Reply, testRegistry } from './registry.ts';

const dialect = 'https://json-schema.org/draft/2020-12/schema';

/** Registers a tool with this input schema, and another with this output schema: the same checks hold for both. */
async function register(registry: Awaited<ReturnType<typeof testRegistry>>, schema: object): Promise<Reply> {
  const name = `t${crypto.randomUUID()}`;
  const output = { name, inputSchema: { type: 'object' }, outputSchema: schema };
  const answer = await registry.send('POST', '/tools', { name: `${name}i`, inputSchema: schema });
  const other = await registry.send('POST', '/tools', output);
  if (answer.status !== other.status) throw new Error(`input ${answer.text}, output ${other.text}`);
  return answer;
}

const nested = (levels: number): object => (levels === 0 ? {} : { not: nested(levels - 1) });

t.test('a schema of draft 2020-12 is taken and comes back unchanged', async (t) => {
  const registry = await testRegistry(t);
  const schemas: object[] = [
    { type: 'object' },
    { $schema: dialect, type: 'object', $defs: { a: { $anchor: 'a' } }, properties: { x: { $ref: '#a' } } },
    { type: 'object', properties: { $ref: { type: 'string' }, $id: { $ref: '#' }, type: { type: 'array' } } },
    { type: 'object', $dynamicAnchor: 'n', properties: { child: { $dynamicRef: '#n' } } },
    { type: 'object', properties: { x: { type: ['string', 'null'], pattern: '^a+$', default: null } } },
    { type: 'object', properties: { constructor: { const: '__proto__' }, '': true, 'a/b~c': false } },
    { type: 'object', 'x-vendor': [1, { y: null }], minProperties: 0, maxProperties: 1e20 },
    { type: 'object', dependentRequired: { a: ['b'] }, unevaluatedProperties: false, prefixItems: [true] },
  ];
  for (const schema of schemas) {
    const { status, json, text } = await register(registry, schema);
    t.equal(status, 201, text);
    t.equal(JSON.stringify(json.inputSchema), JSON.stringify(schema));
  }
});

t.test('what is not a schema is refused at the place where it is wrong', async (t) => {
  const registry = await testRegistry(t);
  const wrong: Array<[object, string]> = [
    [{}, 'type'],
    [{ type: 'string' }, 'type'],
    [{ type: ['object'] }, 'type'],
    [{ type: 'object', properties: { a: { type: 'strin' } } }, 'properties.a.type'],
    [{ type: 'object', properties: { 'a/b~c': { minLength: -1 } } }, 'properties.a/b~c.minLength'],
    [{ type: 'object', properties: [] }, 'properties'],
    [{ type: 'object', properties: { a: 1 } }, 'properties.a'],
    [{ type: 'object', required: 'a' }, 'required'],
    [{ type: 'object', required: ['a', 'a'] }, 'required'],
    [{ type: 'object', anyOf: [] }, 'anyOf'],
    [{ type: 'object', items: [{}] }, 'items'],
    [{ type: 'object', $defs: { a: { allOf: [{ $ref: 7 }] } } }, '$defs.a.allOf.0.$ref'],
    [{ type: 'object', $schema: 'http://json-schema.org/draft-07/schema#' }, '$schema'],
    [{ type: 'object', $schema: 'https://evil.example/schema' }, '$schema'],
  ];
  for (const [schema, field] of wrong) {
    const { status, json } = await register(registry, schema);
    t.equal(status, 422, JSON.stringify(schema));
    t.equal(json.errors[0].field, `inputSchema.${field}`, JSON.stringify(schema));
  }
});

t.test('CWE-918: a reference that leaves the schema is refused wherever it stands', async (t) => {
  const registry = await testRegistry(t);
  const targets = [
    'http://169.254.169.254/latest',
    'https://x/y#/z',
    'file:///etc/passwd',
    '//x/y',
    'other.json',
    '',
  ];
  for (const target of targets) {
    for (const keyword of ['$ref', '$dynamicRef']) {
      const places: Array<[object, string]> = [
        [{ [keyword]: target }, keyword],
        [{ properties: { a: { items: { [keyword]: target } } } }, `properties.a.items.${keyword}`],
        [{ $defs: { a: { anyOf: [true, { [keyword]: target }] } } }, `$defs.a.anyOf.1.${keyword}`],
        // Data, until `#/default` refers to it.
        [{ default: { [keyword]: target } }, `default.${keyword}`],
      ];
      for (const [place, field] of places) {
        const { status, json } = await register(registry, { type: 'object', ...place });
        t.equal(status, 422, `${target} ${field}`);
        t.equal(json.errors[0].field, `inputSchema.${field}`);
      }
    }
  }
});

t.test('an $id is refused, since it would change what the references mean', async (t) => {
  const registry = await testRegistry(t);
  for (const place of [{ $id: 'https://x/y' }, { $defs: { a: { $id: '/z', $ref: '#/b' } } }]) {
    const { status, json } = await register(registry, { type: 'object', ...place });
    t.equal(status, 422);
    t.match(json.errors[0].field, /\$id$/);
  }
});

t.test('depth and size are bounded', async (t) => {
  const registry = await testRegistry(t);
  t.equal((await register(registry, { type: 'object', ...nested(31) })).status, 201);
  const deep = await register(registry, { type: 'object', ...nested(32) });
  t.match(deep, { status: 422, json: { errors: [{ field: 'inputSchema', message: /32 levels/ }] } });
  const overhead = JSON.stringify({ type: 'object', title: '' }).length;
  const sized = (bytes: number) => ({ type: 'object', title: 'x'.repeat(bytes - overhead) });
  t.equal((await register(registry, sized(64 * 1024))).status, 201);
  const large = await register(registry, sized(64 * 1024 + 1));
  t.match(large, { status: 422, json: { errors: [{ field: 'inputSchema', message: /64 KiB/ }] } });
  // Counted in bytes, not characters.
  t.equal((await register(registry, { type: 'object', title: 'ü'.repeat(40_000) })).status, 422);
});

t.test('a number that JSON cannot give back is refused', async (t) => {
  const registry = await testRegistry(t);
  const body = '{"name":"x","inputSchema":{"type":"object","properties":{"a":{"maximum":1e999}}}}';
  const { status, json } = await registry.send('POST', '/tools', body);
  t.equal(status, 422);
  t.equal(json.errors[0].field, 'inputSchema.properties.a.maximum');
});

t.test('CWE-1333: a pattern in a schema is stored and never run', async (t) => {
  const registry = await testRegistry(t);
  const startedMs = performance.now();
  const pattern = '^(a+)+$';
  const victim = `${'a'.repeat(40)}!`;
  const schema = {
    type: 'object',
    properties: { x: { pattern, default: victim, const: victim, enum: [victim], examples: [victim] } },
    patternProperties: { [pattern]: true, '(((': true },
    propertyNames: { pattern },
    [victim]: victim,
  };
  const { status, json } = await register(registry, schema);
  t.equal(status, 201);
  t.strictSame(json.inputSchema, schema);
  t.equal((await registry.send('GET', `/tools/search?q=${victim}`)).status, 200);
  t.ok(performance.now() - startedMs < 2_000);
});

t.test('schemas made to be slow to check are checked quickly', async (t) => {
  const registry = await testRegistry(t);
  const many = Array.from({ length: 9_000 }, (_, index) => index);
  const costly = [
    { type: 'object', properties: { a: { type: many } } },
    { type: 'object', required: many.map(String) },
    { type: 'object', enum: many },
    { type: 'object', anyOf: many.map(() => ({ not: {} })).slice(0, 5_000) },
  ];
  for (const schema of costly) {
    const startedMs = performance.now();
    await register(registry, schema);
    t.ok(performance.now() - startedMs < 1_000, Object.keys(schema).join());
  }
});
