import t from 'tap';
import { BodySchemaError, compileBodySchema } from '../../src/inspection/body-schema.ts';

const compiled = (schema: unknown) => compileBodySchema(JSON.stringify(schema));

t.test('a body that meets the schema passes', async (t) => {
  const schema = compiled({ type: 'object', properties: { name: { type: 'string' } }, required: ['name'] });
  t.doesNotThrow(() => schema.check({ name: 'x', other: [1] }));
});

t.test('one that does not is 422, by place and rule, without its value', async (t) => {
  const schema = compiled({ type: 'object', properties: { list: { items: { type: 'integer' } } } });
  const refused = {
    code: 'validation_failed',
    status: 422,
    errors: [{ field: '/list/1', message: 'must be integer' }],
  };
  t.throws(() => schema.check({ list: [1, 'hunter2', 'other'] }), refused);
});

t.test('what the prototype has is not in the body', async (t) => {
  t.throws(() => compiled({ required: ['toString'] }).check({}), { code: 'validation_failed' });
});

t.test('attack 36: a pattern that would backtrack for ever is matched in linear time', async (t) => {
  const schema = compiled({ type: 'string', pattern: '^(a+)+$' });
  schema.check('aaa');
  const before = process.cpuUsage();
  t.throws(() => schema.check(`${'a'.repeat(50_000)}!`), { code: 'validation_failed' });
  const { user } = process.cpuUsage(before);
  t.ok(user < 10_000_000, 'a backtracking engine would not end in our time');
});

t.test('patterns mean what they mean in JavaScript', async (t) => {
  const schema = compiled({ pattern: '^[\\w.-]+\\/\\d{2}(?:x|y)?\\u0041$' });
  t.doesNotThrow(() => schema.check('a-b/12xA'));
  t.throws(() => schema.check('a-b/12z'));
});

for (const [name, schema, message] of [
  ['no object', [], /no JSON object/],
  ['an unknown keyword', { tpye: 'object' }, /is not taken: .*tpye/],
  ['a wrong value', { type: 'objekt' }, /is not taken/],
  ['look-around', { pattern: '^(?=a)' }, /linear time/],
  ['a back reference', { pattern: '(a)\\1' }, /linear time/],
  ['look-around in names', { patternProperties: { '(?!a)': {} } }, /linear time/],
  ['a reference to itself', { items: { $ref: '#' } }, /leads back to itself/],
  [
    'a circle of two',
    {
      $defs: {
        a: { items: { $ref: '#/$defs/b' } },
        b: { anyOf: [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/a' }] },
      },
      $ref: '#/$defs/a',
    },
    /leads back/,
  ],
  ['a reference elsewhere', { $ref: 'https://evil.example/schema' }, /no pointer within the file/],
  ['a reference to nothing', { $ref: '#/$defs/none' }, /is not taken/],
  ['a reference in escapes', { $ref: '#/$defs/%zz' }, /no pointer within the file/],
  ['an $id below the top', { $defs: { a: { $id: 'http://x/a' } } }, /\$id/],
  ['a dynamic reference', { $dynamicRef: '#x' }, /\$dynamicRef/],
  ['an unbounded comparison of each with each', { uniqueItems: true }, /maxItems/],
] as const)
  t.test(`check refuses ${name}`, async (t) => {
    t.throws(() => compiled(schema), { constructor: BodySchemaError, message });
  });

t.test('JSON that is none is told with the place', async (t) => {
  t.throws(() => compileBodySchema('{\n  "type": 1 2}'), { message: /is not JSON: .*line 2 column 13/ });
});

t.test('references without a circle and bounded unique lists are taken', async (t) => {
  const name = { type: 'string', maxLength: 5 };
  const schema = compiled({
    $defs: { name },
    items: { $ref: '#/$defs/name' },
    uniqueItems: true,
    maxItems: 10,
  });
  t.doesNotThrow(() => schema.check(['a', 'b']));
  t.throws(() => schema.check(['a', 'a']));
  t.throws(() => schema.check(['too long']));
});
