/** No phase takes much more of a request than it did, measured against what bare node:http and undici take now. */
import t from 'tap';
import { measureShares } from './shares.ts';

/** How much more than usual is a regression, and no longer the weather. */
const factor = 3;

/** Percent of the floor's request that each takes, seen in quiet and busy hours; the smallest count as one. */
const usual: Readonly<Record<string, number>> = {
  'match route': 1.5,
  authenticate: 1,
  authorize: 1,
  'limit rate': 1,
  'inspect body': 1,
  'rewrite headers': 1.5,
  'head of the answer': 8,
  'audit record': 7,
  metrics: 1,
};

t.test('no phase takes more of a request than three times its usual share', async (t) => {
  const { floorUs, shares } = await measureShares();
  t.comment(`bare: ${floorUs.toFixed(1)} µs a request`);
  t.strictSame(
    shares.map(({ phase }) => phase),
    Object.keys(usual),
  );
  for (const { phase, us, share } of shares) {
    const percent = share * 100;
    const most = factor * (usual[phase] ?? 0);
    t.ok(percent <= most, `${phase}: ${us.toFixed(2)} µs, ${percent.toFixed(1)} % of at most ${most} %`);
  }
});
