import fc from 'fast-check';
import t from 'tap';
import { LineBuffer } from '../../src/audit/line-buffer.ts';

const line = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 200 }),
  fc.integer({ min: 1, max: 60_000 }).map((length) => 'é'.repeat(length)),
);
const batches = fc.array(fc.array(line, { maxLength: 10 }), { maxLength: 5 });

t.test('what is taken is what was pushed since, to the byte', async () => {
  fc.assert(
    fc.property(batches, (batches) => {
      const lines = new LineBuffer();
      return batches.every((batch) => {
        const counted = batch.reduce((bytes, one) => bytes + lines.push(one), 0);
        const expected = Buffer.from(batch.join(''));
        const { length } = lines;
        const taken = lines.take();
        return counted === expected.length && length === counted && taken.equals(expected);
      });
    }),
  );
});

t.test('what was taken does not change with what comes later', async (t) => {
  const lines = new LineBuffer();
  lines.push('first\n');
  const taken = lines.take();
  lines.push('second\n');
  t.equal(taken.toString(), 'first\n');
});
