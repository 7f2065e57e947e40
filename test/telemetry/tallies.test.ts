import fc from 'fast-check';
import { Counter, Histogram, Registry } from 'prom-client';
import t from 'tap';
import { openMetrics, plainText } from '../../src/telemetry/exposition.ts';
import { Distribution, Tally } from '../../src/telemetry/tallies.ts';

const bounds = [0.001, 0.01, 0.5, 30];
const label = fc.constantFrom('/tools', '/tools/*', 'none', 'a"b\\c\nd');

t.test("a distribution tells what prom-client's histogram would", async () => {
  const seen = fc.array(fc.tuple(label, fc.double({ min: 0, max: 100, noNaN: true })), { maxLength: 50 });
  await fc.assert(
    fc.asyncProperty(seen, async (values) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const what = { name: 'seconds', help: 'Seconds.' };
      const distribution = new Distribution(ours, { ...what, bounds, label: 'route' });
      const histogram = new Histogram({
        ...what,
        buckets: bounds,
        labelNames: ['route'],
        registers: [theirs],
      });
      for (const [route, value] of values) {
        distribution.observe(route, value);
        histogram.observe({ route }, value);
      }
      return linesOf(await plainText(ours)) === linesOf(await plainText(theirs));
    }),
  );
});

t.test('a distribution without a label is there before its first value', async (t) => {
  const registry = new Registry();
  new Distribution(registry, { name: 'seconds', help: 'Seconds.', bounds });
  t.match(
    (await plainText(registry)).text,
    /^seconds_bucket\{le="30"\} 0\n.*\nseconds_sum 0\nseconds_count 0$/m,
  );
});

t.test("a tally tells what prom-client's counter would", async () => {
  const seen = fc.array(fc.tuple(label, fc.constantFrom('GET', 'POST'), fc.nat(3)), { maxLength: 50 });
  await fc.assert(
    fc.asyncProperty(seen, async (counted) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const tally = new Tally(ours, 'requests_total', 'Requests.', ['route', 'method']);
      const counter = new Counter({
        name: 'requests_total',
        help: 'Requests.',
        labelNames: ['route', 'method'],
        registers: [theirs],
      });
      for (const [route, method, by] of counted) {
        tally.count([route, method], by);
        counter.inc({ route, method }, by);
      }
      return linesOf(await plainText(ours)) === linesOf(await plainText(theirs));
    }),
  );
});

t.test('a bucket shows the last request that fell into it, in OpenMetrics', async (t) => {
  const registry = new Registry();
  const distribution = new Distribution(registry, { name: 'seconds', help: 'Seconds.', bounds });
  distribution.observe('', 0.002, { labels: { trace_id: 'first' }, timestamp: 1 });
  distribution.observe('', 0.003, { labels: { trace_id: 'second' }, timestamp: 2.5 });
  const { text } = await openMetrics(registry);
  t.match(text, 'seconds_bucket{le="0.01"} 2 # {trace_id="second"} 0.003 2.5');
  t.notMatch(text, 'first');
});

/** Whatever their order. */
function linesOf({ text }: { text: string }): string {
  return text.split('\n').map(labelsSorted).sort().join('\n');
}

function labelsSorted(line: string): string {
  return line.replace(
    /\{(.*)\}/,
    (_, labels: string) =>
      `{${labels
        .split('",')
        .map((one) => one.replace(/"$/, ''))
        .sort()
        .join('",')}}`,
  );
}
