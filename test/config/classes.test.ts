import t from 'tap';
import { partitions } from '../../src/exchange.ts';
import { least, linesOf, parse, routed } from './reading.ts';

const route = (fields: string) => `  - { path: /a, upstream: registry, permission: read, ${fields} }\n`;
const publicRoute = (fields: string) => `  - { path: /a, upstream: registry, permission: none, ${fields} }\n`;
/** With one more class, on line 8. */
const withClass = (fields: string, routes = '') =>
  (routes === '' ? least : routed).replace('audit:', `    mine: { ${fields} }\naudit:`) + routes;

const rateRule = 'must be a rate from 1 to 1000000 per second, minute, hour or day, written like 60/minute';
const burstRule = 'must be a whole number from 1 to 1000000';

/** What can never be counted; where it stands and what is said of it. */
const wrong: ReadonlyArray<readonly [fields: string, said: string]> = [
  ['rate: 0/minute', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: -1/minute', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 1e308/minute', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 1e308', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 0', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: .inf', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 1.5/minute', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 1000001/second', `8:19 rate_limits.classes.mine.rate: ${rateRule}`],
  ['rate: 6/minute, burst: 0', `8:36 rate_limits.classes.mine.burst: ${burstRule}`],
  ['rate: 6/minute, burst: -1', `8:36 rate_limits.classes.mine.burst: ${burstRule}`],
  ['rate: 6/minute, burst: 1e308', `8:36 rate_limits.classes.mine.burst: ${burstRule}`],
  ['rate: 6/minute, burst: .nan', `8:36 rate_limits.classes.mine.burst: ${burstRule}`],
  [
    'rate: 6/minute, partition: ip',
    '8:40 rate_limits.classes.mine.partition: must be one of principal, address, route, user, principal+route, address+route or user+route',
  ],
  [
    'rate: 6/minute, partitoin: user',
    '8:29 rate_limits.classes.mine.partitoin: is not a key here. Did you mean partition?',
  ],
];

for (const [fields, said] of wrong) {
  t.test(`wrong: ${fields}`, async (t) => t.strictSame(linesOf(withClass(fields)), [said]));
}

t.test('a partition is one of seven; a class without one is by principal', async (t) => {
  for (const partition of partitions) {
    const { config } = parse(withClass(`rate: 6/minute, partition: ${partition}`));
    t.equal(config.rate_limits.classes.mine?.partition, partition);
  }
  t.equal(parse(withClass('rate: 6/minute')).config.rate_limits.classes.mine?.partition, 'principal');
});

t.test('a partition where nobody chooses one is told', async (t) => {
  t.match(linesOf(`${least}auth: { failures: { rate: 1/hour, partition: route } }\n`), [
    /auth\.failures\.partition: is not a key here/,
  ]);
});

t.test('a cost is 1 unless it is said, and up to what a full bucket holds', async (t) => {
  const costOf = (fields: string, mine = 'rate: 6/minute') =>
    parse(withClass(mine, route(fields))).config.routes[0]?.cost;
  t.equal(costOf('class: read'), 1);
  t.equal(costOf('class: read, cost: 60'), 60);
  t.equal(costOf('class: mine, cost: 9', 'rate: 6/minute, burst: 9'), 9);
});

t.test('a cost over what a full bucket holds is told at the cost', async (t) => {
  t.strictSame(linesOf(routed + route('class: read, cost: 61')), [
    '11:74 routes.0.cost: is more than a full bucket of the class read holds (60): no request would ever pass. Write at most 60, or burst: 61 at rate_limits.classes.read.',
  ]);
  t.strictSame(linesOf(withClass('rate: 60/minute, burst: 4', route('class: mine, cost: 5'))), [
    '12:74 routes.0.cost: is more than a full bucket of the class mine holds (4): no request would ever pass. Write at most 4, or burst: 5 at rate_limits.classes.mine.',
  ]);
});

t.test('it is told beside every other problem of the file', async (t) => {
  const lines = linesOf(`${routed + route('class: read, cost: 61')}log: { level: loud }\n`);
  t.match(lines, [/routes\.0\.cost: is more than/, /log\.level/]);
});

t.test('a cost that is no whole number from 1 on is told', async (t) => {
  for (const cost of ['0', '-1', '1.5', '1e308', 'five', '[]']) {
    t.strictSame(
      linesOf(routed + route(`class: read, cost: ${cost}`)),
      ['11:74 routes.0.cost: must be a whole number from 1 to 1000000'],
      cost,
    );
  }
});

t.test('a bucket that all addresses share is not for public routes', async (t) => {
  const byRoute = 'rate: 6/minute, partition: route';
  t.strictSame(linesOf(withClass(byRoute, publicRoute('class: mine'))), [
    '12:62 routes.0.class: lets one address use up what a public route allows all of them. Write partition: address+route at rate_limits.classes.mine.',
  ]);
  t.strictSame(linesOf(withClass(byRoute, route('class: mine'))), [], 'a verified caller can be told off');
  t.strictSame(
    linesOf(withClass('rate: 6/minute, partition: address+route', publicRoute('class: mine'))),
    [],
  );
  const publicByRoute = routed.replace('100/minute }', '100/minute, partition: route }');
  t.strictSame(linesOf(publicByRoute + publicRoute('class: public')), [
    '4:44 rate_limits.classes.public.partition: lets one address use up what a public route allows all of them. Write partition: address+route at rate_limits.classes.public.',
  ]);
});
