import fc from 'fast-check';
import t from 'tap';
import type { Buckets } from '../../src/bucket/buckets.ts';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import type { Refusal } from '../../src/errors.ts';
import { anonymous, type Partition, type Principal, partitions, type Route } from '../../src/exchange.ts';
import { Cors } from '../../src/http/cors.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { limitRate } from '../../src/phases/limit-rate.ts';
import { exchangeOf, principalOf, readClass, routeOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

const oneAMinute = { ...readClass, capacity: 1, refillPeriodUs: 60_000_000 };
const limited = routeOf({ permission: 'none', rateClass: oneAMinute });

/** Whether this caller passes; one does, once a minute. */
function asker(clock = new FakeClock()) {
  const buckets = new MemoryBuckets(clock);
  return (principal: Principal, clientAddress = '192.0.2.1', route: Route = limited): boolean => {
    const exchange = exchangeOf({}, { clientAddress });
    const permit = authorize(new Cors([]), exchange, route, principal);
    try {
      limitRate(buckets, exchange, permit);
    } catch {
      return false;
    }
    return true;
  };
}

t.test('a caller over the rate is refused, and told in whole seconds when to come back', async (t) => {
  const clock = new FakeClock();
  const buckets = new MemoryBuckets(clock);
  const exchange = exchangeOf();
  const permit = authorize(new Cors([]), exchange, limited, anonymous);
  limitRate(buckets, exchange, permit);
  t.match(exchange.rate, { admitted: true, remaining: 0 });
  clock.nowMs += 500;
  t.throws(() => limitRate(buckets, exchange, permit), {
    code: 'rate_limited',
    status: 429,
    retryAfterSeconds: 60,
  });
  t.match(exchange.rate, { admitted: false, remaining: 0, retryInMs: 59_500 }, 'the refusal has its headers');
});

t.test('whoever waits as long as Retry-After says passes', async (t) => {
  const clock = new FakeClock();
  const passes = asker(clock);
  passes(anonymous);
  clock.nowMs += 60_000;
  t.equal(passes(anonymous), true);
});

t.test('a principal has one bucket, whatever address, token or session it comes with', async (t) => {
  const passes = asker();
  t.equal(passes(principalOf({ authType: 'ApiKey' })), true);
  t.equal(passes(principalOf({ authType: 'Bearer', sessionId: 's2' }), '198.51.100.7'), false);
});

t.test('two principals at one address do not share', async (t) => {
  const passes = asker();
  t.equal(passes(principalOf({ subject: 'key:a' })), true);
  t.equal(passes(principalOf({ subject: 'user:a', kind: 'user' })), true);
});

t.test('anonymous callers share their address, and none with a principal', async (t) => {
  const passes = asker();
  t.equal(passes(anonymous), true);
  t.equal(passes(anonymous), false);
  t.equal(passes(anonymous, '192.0.2.2'), true);
  t.equal(passes(principalOf()), true);
});

t.test('attack 34: 300 addresses of one IPv6 /64 have one bucket', async (t) => {
  const passes = asker();
  const passed = Array.from({ length: 300 }, (_, host) =>
    passes(anonymous, `2001:db8:1:2::${host.toString(16)}`),
  );
  t.equal(passed.filter(Boolean).length, 1);
});

t.test('classes do not share', async (t) => {
  const passes = asker();
  t.equal(passes(anonymous), true);
  t.equal(passes(anonymous, undefined, { ...limited, rateClass: { ...oneAMinute, name: 'write' } }), true);
});

t.test('routes of one class do', async (t) => {
  const passes = asker();
  t.equal(passes(anonymous), true);
  t.equal(passes(anonymous, undefined, { ...limited, template: '/other' }), false);
});

t.test('no subject shares the bucket of anonymous callers, whatever an issuer is called', async (t) => {
  const passes = asker();
  const verified = routeOf({ permission: 'any', rateClass: oneAMinute });
  for (const subject of ['192.0.2.1', 'address:192.0.2.1', 'corp:@192.0.2.1']) {
    t.ok(passes(principalOf({ subject }), '192.0.2.1', verified), subject);
  }
  t.ok(passes(anonymous, '192.0.2.1'));
  t.notOk(passes(anonymous, '192.0.2.1'));
});

/** Whether these two share a bucket of a class with this partition. */
function share(partition: Partition, one: Asked, other: Asked): boolean {
  const ask = asker();
  const passes = ({ principal = anonymous, address = '192.0.2.1', template = '/tools' }: Asked) =>
    ask(
      principal,
      address,
      routeOf({
        template,
        permission: principal === anonymous ? 'none' : 'any',
        rateClass: { ...oneAMinute, partition },
      }),
    );
  if (!passes(one)) throw new Error('the first did not pass');
  return !passes(other);
}

interface Asked {
  readonly principal?: Principal;
  readonly address?: string;
  readonly template?: string;
}

const ci = principalOf({ subject: 'key:ci', owner: 'user:ada' });
const nightly = principalOf({ subject: 'key:nightly', owner: 'user:ada' });
const ada = principalOf({ subject: 'user:ada', kind: 'user' });
const bob = principalOf({ subject: 'key:bob', owner: 'user:bob' });
const nobodys = principalOf({ subject: 'key:nobodys' });

t.test('by address, whoever is there shares', async (t) => {
  t.ok(share('address', { principal: ci }, { principal: bob }));
  t.ok(share('address', { principal: ci }, {}), 'the anonymous too');
  t.ok(share('address', { template: '/a' }, { template: '/b' }));
  t.notOk(share('address', { principal: ci }, { principal: ci, address: '192.0.2.2' }));
  t.ok(share('address', { address: '2001:db8::1' }, { address: '2001:db8::ffff' }), 'an IPv6 /64 is one');
});

t.test('by route, all callers of it share, and routes do not', async (t) => {
  t.ok(share('route', { principal: ci }, { principal: bob, address: '192.0.2.2' }));
  t.notOk(share('route', { principal: ci }, { principal: ci, template: '/tools/*' }));
});

t.test('by user, a user and all keys of that user share', async (t) => {
  t.ok(share('user', { principal: ci }, { principal: nightly, address: '192.0.2.2' }));
  t.ok(share('user', { principal: ci }, { principal: ada }));
  t.notOk(share('user', { principal: ci }, { principal: bob }));
  t.notOk(share('user', { principal: ci }, { principal: nobodys }));
  t.notOk(share('user', { principal: nobodys }, { principal: principalOf({ subject: 'key:another' }) }));
  t.ok(share('user', {}, {}), 'the anonymous share their address');
  t.notOk(share('user', {}, { address: '192.0.2.2' }));
});

t.test('by principal, two keys of one user do not share', async (t) => {
  t.notOk(share('principal', { principal: ci }, { principal: nightly }));
});

t.test('with +route, each of them has a bucket for each route', async (t) => {
  for (const partition of ['principal+route', 'address+route', 'user+route'] as const) {
    t.ok(share(partition, { principal: ci }, { principal: ci }), partition);
    t.notOk(share(partition, { principal: ci }, { principal: ci, template: '/tools/*' }), partition);
    t.notOk(share(partition, { principal: ci }, { principal: bob, address: '192.0.2.2' }), partition);
  }
  t.ok(share('user+route', { principal: ci }, { principal: nightly }));
});

t.test('property: what two partitions call alike is alike', async () => {
  const nasty = fc.constantFrom('@192.0.2.1', '/tools', 'unknown', 'user:a', 'a b', ' ', ':', 'x');
  const sub = fc.oneof(
    nasty,
    fc.array(nasty, { maxLength: 3 }).map((parts) => parts.join('')),
  );
  const name = fc.constantFrom('user', 'key', 'corp', 'unknown', 'route', 'a');
  const subject = fc.tuple(name, sub).map((parts) => parts.join(':'));
  const asked = fc.record({
    partition: fc.constantFrom(...partitions),
    subject: fc.option(subject, { nil: undefined }),
    owner: fc.option(fc.constantFrom('user:a', 'user:b'), { nil: undefined }),
    address: fc.constantFrom('192.0.2.1', '2001:db8::1', 'unix'),
    template: fc.constantFrom(
      '/tools',
      '/tools/*',
      '/',
      '/@192.0.2.1',
      '/user:a',
      'unknown',
      'unknown_method',
    ),
  });
  fc.assert(
    fc.property(
      asked,
      asked,
      (one, other) => (keyOf(one) === keyOf(other)) === (meaningOf(one) === meaningOf(other)),
    ),
    { numRuns: 1_000 },
  );
});

interface Drawn {
  readonly partition: Partition;
  readonly subject: string | undefined;
  readonly owner: string | undefined;
  readonly address: string;
  readonly template: string;
}

/** What the phase calls the bucket. */
function keyOf({ partition, subject, owner, address, template }: Drawn): string {
  const principal =
    subject === undefined ? anonymous : principalOf({ subject, ...(owner !== undefined && { owner }) });
  const exchange = exchangeOf({}, { clientAddress: address });
  const permission = subject === undefined ? 'none' : 'any';
  const route = routeOf({ template, permission, rateClass: { ...oneAMinute, partition } });
  let key = '';
  // Room for one: a large map is what takes the time here.
  const buckets = new MemoryBuckets(new FakeClock(), 1);
  const noting: Buckets = {
    take: (rateClass, partition, cost) => {
      key = partition;
      return buckets.take(rateClass, partition, cost);
    },
  };
  limitRate(noting, exchange, authorize(new Cors([]), exchange, route, principal));
  return key;
}

/** Who shares it, each part told apart by its place. */
function meaningOf({ partition, subject, owner, address, template }: Drawn): string {
  const [who, route] = partition === 'route' ? ['', 'route'] : partition.split('+');
  const byAddress = who === 'address' || (who !== '' && subject === undefined);
  const caller = who === 'user' ? (owner ?? subject) : subject;
  return JSON.stringify({
    address: byAddress ? address : undefined,
    caller: byAddress || who === '' ? undefined : caller,
    template: route === undefined ? undefined : template,
  });
}

t.test('a request takes what its route costs, all or nothing', async (t) => {
  const rateClass = { ...oneAMinute, capacity: 10 };
  const ask = asker();
  const search = routeOf({ permission: 'none', rateClass, cost: 4, template: '/search' });
  const read = routeOf({ permission: 'none', rateClass });
  const passes = (route: Route) => ask(anonymous, undefined, route);
  t.strictSame([passes(search), passes(search), passes(search)], [true, true, false]);
  t.strictSame([passes(read), passes(read), passes(read)], [true, true, false], 'two are left for others');
});

t.test('property: who waits as long as Retry-After says passes; 1 s less and it does not', async () => {
  fc.assert(
    fc.property(
      fc.record({
        capacity: fc.integer({ min: 1, max: 50 }),
        refillUnits: fc.integer({ min: 1, max: 7 }),
        refillPeriodUs: fc.integer({ min: 1_000, max: 90_000_000 }),
      }),
      fc.integer({ min: 1, max: 50 }),
      fc.nat({ max: 5_000 }),
      (bucket, drawnCost, stepMs) => {
        const cost = Math.min(drawnCost, bucket.capacity);
        const rateClass = { ...oneAMinute, ...bucket };
        const clock = new FakeClock();
        const buckets = new MemoryBuckets(clock, 1);
        buckets.take(rateClass, '@192.0.2.1', rateClass.capacity);
        const ask = retryAfter(buckets, routeOf({ permission: 'none', rateClass, cost }));
        // Neither on a whole second nor on a whole millisecond.
        clock.nowMs += stepMs / 7;
        const seconds = ask();
        // It has refilled meanwhile.
        if (seconds === undefined) return true;
        const early = seconds * 1000 - 1000;
        clock.nowMs += early;
        if (early > 0 && ask() === undefined) return false;
        clock.nowMs += 1000;
        return ask() === undefined;
      },
    ),
    { numRuns: 300 },
  );
});

/** Asks again: seconds to wait, or `undefined` where it passes. */
function retryAfter(buckets: MemoryBuckets, route: Route): () => number | undefined {
  return () => {
    const exchange = exchangeOf();
    try {
      limitRate(buckets, exchange, authorize(new Cors([]), exchange, route, anonymous));
      return undefined;
    } catch (error) {
      return (error as Refusal).retryAfterSeconds;
    }
  };
}
