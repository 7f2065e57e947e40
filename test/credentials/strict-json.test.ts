import fc from 'fast-check';
import t from 'tap';
import { parseStrictJson } from '../../src/credentials/strict-json.ts';

const twice = { message: 'a member is named twice' };

t.test('reads what JSON.parse reads', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      const text = JSON.stringify(value);
      t.strictSame(parseStrictJson(text, 16), JSON.parse(text));
    }),
    { numRuns: 200 },
  );
});

t.test('a name used twice in one object is refused, in different objects it is not', async (t) => {
  t.throws(() => parseStrictJson('{"sub":"a","sub":"b"}', 16), twice);
  t.throws(() => parseStrictJson('{"sub":"a","s\\u0075b":"b"}', 16), twice, 'spelled otherwise');
  t.throws(() => parseStrictJson('{"a":[{"b":1,"b":2}]}', 16), twice);
  t.throws(() => parseStrictJson('{"a":"\\\\","a":1}', 16), twice, 'after an escaped backslash');
  t.same(parseStrictJson('{"a":{"a":["a","a"]},"b":"a"}', 16), { a: { a: ['a', 'a'] }, b: 'a' });
});

t.test('depth is bounded exactly', async (t) => {
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  t.doesNotThrow(() => parseStrictJson(nested(16), 16));
  t.throws(() => parseStrictJson(nested(17), 16), { message: 'too deep' });
  t.throws(() => parseStrictJson(nested(20_000), 16), { message: 'too deep' });
});

t.test('what is not JSON is refused without its content', async (t) => {
  t.throws(() => parseStrictJson('{"password":"hunter2"', 16), { message: 'not JSON' });
});
