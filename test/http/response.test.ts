import t from 'tap';
import { linesOf } from '../../src/http/checked-response.ts';
import { Cors } from '../../src/http/cors.ts';
import { problemBody } from '../../src/http/problem.ts';
import {
  commonHeaders,
  isOurs,
  otherHeaders,
  ownLines,
  type ResponsePolicy,
  sendWhole,
  withOwn,
} from '../../src/http/response.ts';
import { SecurityHeaders } from '../../src/http/security-headers.ts';
import { exchangeOf, readClass, routeOf, valuesOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

const policyOf = (overrides: Record<string, string> = {}, origins: string[] = []): ResponsePolicy => ({
  security: new SecurityHeaders(overrides),
  cors: new Cors(origins),
  clock: new FakeClock(),
  stallMs: 1_000,
  isDraining: () => false,
});
const rate = {
  rateClass: readClass,
  source: 'memory',
  admitted: true,
  remaining: 59,
  fullInMs: 1_000,
  retryInMs: 0,
} as const;

const promised = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'X-XSS-Protection': '1; mode=block',
  'Strict-Transport-Security': 'max-age=31536000; includeSubDomains',
  'Referrer-Policy': 'strict-origin-when-cross-origin',
  'Permissions-Policy': 'geolocation=(), microphone=(), camera=()',
};

for (const [name, value] of Object.entries(promised))
  t.test(`${name} stands once, as promised`, async (t) => {
    t.strictSame(valuesOf(new SecurityHeaders().flat(), name), [value]);
  });

t.test('a content policy stands once', async (t) => {
  t.equal(valuesOf(new SecurityHeaders().flat(), 'content-security-policy').length, 1);
});

t.test('an override in any case replaces, under the usual name', async (t) => {
  const flat = new SecurityHeaders({ 'x-FRAME-options': 'SAMEORIGIN' }).flat();
  t.strictSame(valuesOf(flat, 'x-frame-options'), ['SAMEORIGIN']);
  t.ok(flat.includes('X-Frame-Options'));
});

t.test('the same override in two spellings stands once', async (t) => {
  const flat = new SecurityHeaders({ 'X-Own': '1', 'x-own': '2' }).flat();
  t.strictSame(valuesOf(flat, 'x-own'), ['2']);
});

t.test('an empty override leaves a header out, the upstream’s as well', async (t) => {
  const headers = new SecurityHeaders({ 'X-XSS-Protection': '' });
  t.strictSame(valuesOf(headers.flat(), 'x-xss-protection'), []);
  t.equal(headers.owns('x-xss-protection'), true);
});

for (const name of [
  'x-frame-options',
  'x-request-id',
  'ratelimit',
  'ratelimit-policy',
  'x-ratelimit-reset',
  'access-control-allow-origin',
  'access-control-allow-credentials',
])
  t.test(`an upstream's ${name} gives way to ours`, async (t) => {
    t.equal(isOurs(policyOf(), name), true);
  });

t.test('an upstream keeps what is not ours', async (t) => {
  for (const name of ['content-type', 'etag', 'vary', 'cache-control', 'set-cookie'])
    t.equal(isOurs(policyOf(), name), false);
});

t.test('every common header stands once', async (t) => {
  const exchange = exchangeOf({ headers: ['Origin', 'https://a'] }, { rate });
  const common = commonHeaders(policyOf({ 'x-frame-options': 'SAMEORIGIN' }, ['https://a']), exchange);
  const names = common.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  t.strictSame(names, [...new Set(names)]);
  t.strictSame(valuesOf(common, 'x-request-id'), ['request-1']);
});

t.test('the head of an answer that is passed on has the same of ours as any other', async (t) => {
  const exchange = exchangeOf({ headers: ['Origin', 'https://a'] }, { rate });
  const policy = policyOf({ 'x-frame-options': 'SAMEORIGIN' }, ['https://a']);
  const sorted = (lines: string) => lines.split('\r\n').sort().join('\r\n');
  t.equal(
    sorted(ownLines(policy, exchange) + linesOf(otherHeaders(policy, exchange))),
    sorted(linesOf(commonHeaders(policy, exchange))),
  );
});

t.test('before a bucket was asked there are no rate headers', async (t) => {
  t.strictSame(valuesOf(commonHeaders(policyOf(), exchangeOf()), 'x-ratelimit-limit'), []);
});

t.test('own headers replace common ones in any case, and add others', async (t) => {
  t.strictSame(withOwn(['A', '1', 'B-c', '2', 'b-C', '3'], { 'b-c': '4', D: '5' }), [
    'A',
    '1',
    'b-c',
    '4',
    'D',
    '5',
  ]);
});

t.test('no own headers change nothing', async (t) => {
  t.strictSame(withOwn(['A', '1'], {}), ['A', '1']);
});

/** What was sent, head and body, of a response without a socket. */
function sent(exchange: ReturnType<typeof exchangeOf>, status = 200): string {
  const policy = policyOf();
  sendWhole(policy, exchange, status, commonHeaders(policy, exchange), Buffer.from('hello'));
  return String(Reflect.get(exchange.response, '_header'));
}

t.test('a whole body has its length, and is counted', async (t) => {
  const exchange = exchangeOf({}, { route: routeOf() });
  t.match(sent(exchange), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Length: 5\r\n/);
  t.match(exchange.outcome, { status: 200, bytesOut: 5 });
});

t.test('HEAD is told the length and sent nothing', async (t) => {
  const exchange = exchangeOf({ method: 'HEAD' }, { route: routeOf() });
  t.match(sent(exchange), /Content-Length: 5\r\n/);
  t.equal(exchange.outcome.bytesOut, 0);
});

t.test('204 has neither length nor body', async (t) => {
  const exchange = exchangeOf({}, { route: routeOf() });
  t.notMatch(sent(exchange, 204), /Content-Length/);
  t.equal(exchange.outcome.bytesOut, 0);
});

t.test('the connection goes on after an answer to a request that was read whole', async (t) => {
  t.notMatch(sent(exchangeOf({}, { route: routeOf() })), /Connection: close/);
});

t.test('the connection ends when a body was announced and not read', async (t) => {
  t.match(sent(exchangeOf({ headers: ['Content-Length', '5'] }, { route: routeOf() })), /Connection: close/);
});

t.test('the connection ends after a head that could not be read in one way', async (t) => {
  t.match(sent(exchangeOf(), 400), /Connection: close/);
});

t.test('a problem has the members of RFC 9457 and ours, and no others', async (t) => {
  const body = JSON.parse(
    problemBody({ status: 404, title: 'Not Found', detail: 'x', code: 'route_not_found', requestId: 'r' }),
  );
  t.strictSame(body, {
    type: 'about:blank',
    title: 'Not Found',
    status: 404,
    detail: 'x',
    code: 'route_not_found',
    request_id: 'r',
  });
});

t.test('a problem says when to come back, and which fields are wrong', async (t) => {
  const errors = [{ field: 'name', message: 'is missing' }];
  const body = JSON.parse(
    problemBody({
      status: 429,
      title: 't',
      detail: 'd',
      code: 'c',
      requestId: 'r',
      retryAfterSeconds: 3,
      errors,
    }),
  );
  t.match(body, { retry_after: 3, errors });
});

t.test('a gateway that is ending takes no further request on a connection', async (t) => {
  const policy = { ...policyOf(), isDraining: () => true };
  const flat = commonHeaders(policy, exchangeOf({}, { route: routeOf() }));
  t.strictSame(valuesOf(flat, 'Connection'), ['close']);
});
