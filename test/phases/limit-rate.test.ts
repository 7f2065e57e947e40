import t from 'tap';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import { anonymous, type Principal, type Route } from '../../src/exchange.ts';
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
