import t from 'tap';
import { randomHex } from '../../src/http/random-hex.ts';

t.test('an id has the length asked for, in lower case hexadecimal digits', async (t) => {
  for (const bytes of [1, 24, 4_096]) t.match(randomHex(bytes), new RegExp(`^[0-9a-f]{${2 * bytes}}$`));
});

t.test('no id comes twice, however the pool is used up', async (t) => {
  const ids = Array.from({ length: 5_000 }, (_, index) => randomHex(16 + (index % 9)));
  t.equal(new Set(ids.map((id) => id.slice(0, 32))).size, ids.length);
  t.equal(new Set(ids.map((id) => id.slice(-32))).size, ids.length);
});
