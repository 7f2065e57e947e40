import fc from 'fast-check';
import t from 'tap';
import type { WallMs } from '../../src/clock.ts';
import { type RateDecision, rateSources } from '../../src/exchange.ts';
import { linesOf } from '../../src/http/checked-response.ts';
import { rateHeaders, rateLines } from '../../src/http/rate-headers.ts';
import { readClass, valuesOf } from '../support/exchange.ts';

const now = 1_695_678_900_250 as WallMs;
const decisionOf = (changes: Partial<RateDecision> = {}): RateDecision => ({
  rateClass: readClass,
  source: 'memory',
  admitted: true,
  remaining: 59,
  fullInMs: 1_000,
  retryInMs: 0,
  ...changes,
});
const valueIn = (decision: RateDecision, name: string) =>
  valuesOf(rateHeaders(decision, now), name).join('|');

t.test("the registry's clients find what they know", async (t) => {
  const decision = decisionOf();
  t.equal(valueIn(decision, 'X-RateLimit-Limit'), '60');
  t.equal(valueIn(decision, 'X-RateLimit-Remaining'), '59');
  t.equal(valueIn(decision, 'X-RateLimit-Reset'), '1695678902');
});

t.test("the draft's example comes out as it stands there", async (t) => {
  t.equal(valueIn(decisionOf({ fullInMs: 30_000 }), 'RateLimit-Policy'), '"read";q=60;w=60');
  t.equal(valueIn(decisionOf({ fullInMs: 30_000 }), 'RateLimit'), '"read";r=59;t=30');
});

t.test('an empty bucket', async (t) => {
  const decision = decisionOf({ admitted: false, remaining: 0, fullInMs: 60_000, retryInMs: 1_000 });
  t.equal(valueIn(decision, 'X-RateLimit-Remaining'), '0');
  t.equal(valueIn(decision, 'X-RateLimit-Reset'), '1695678961');
  t.equal(valueIn(decision, 'RateLimit'), '"read";r=0;t=60');
});

t.test('the window is how long an empty bucket takes to fill', async (t) => {
  const burst = { ...readClass, capacity: 90 };
  t.equal(valueIn(decisionOf({ rateClass: burst }), 'RateLimit-Policy'), '"read";q=90;w=90');
});

t.test('a window under a second is a second', async (t) => {
  const fast = { name: 'fast', capacity: 10, refillUnits: 1, refillPeriodUs: 1_000 };
  t.equal(valueIn(decisionOf({ rateClass: fast }), 'RateLimit-Policy'), '"fast";q=10;w=1');
});

t.test('property: values are whole, and the bucket is full no later than told', async () => {
  const integer = /^\d+$/;
  const draft = /^"[a-z][a-z0-9_-]*";[qr]=\d+;[wt]=\d+$/;
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 60 }),
      fc.integer({ min: 0, max: 60_000_000 }),
      (remaining, fullInUs) => {
        const decision = decisionOf({ remaining, fullInMs: fullInUs / 1_000 });
        const resetSeconds = Number(valueIn(decision, 'X-RateLimit-Reset'));
        return (
          ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset'].every((name) =>
            integer.test(valueIn(decision, name)),
          ) &&
          ['RateLimit', 'RateLimit-Policy'].every((name) => draft.test(valueIn(decision, name))) &&
          resetSeconds * 1_000 >= now + decision.fullInMs &&
          resetSeconds * 1_000 < now + decision.fullInMs + 1_000
        );
      },
    ),
  );
});

t.test('where nobody has counted, nothing is told', async (t) => {
  for (const source of ['open', 'closed'] as const)
    t.strictSame(rateHeaders(decisionOf({ source }), now), []);
  t.not(rateHeaders(decisionOf({ source: 'local' }), now).length, 0);
});

t.test('as lines they say the same', async (t) => {
  const sorted = (lines: string) => lines.split('\r\n').sort().join('\r\n');
  for (const source of rateSources)
    for (const remaining of [0, 7, 59]) {
      const decision = decisionOf({ source, remaining, fullInMs: 1_234.5 });
      t.equal(sorted(rateLines(decision, now)), sorted(linesOf(rateHeaders(decision, now))));
    }
});
