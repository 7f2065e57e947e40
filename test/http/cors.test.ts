import t from 'tap';
import { Cors, isPreflight } from '../../src/http/cors.ts';
import { requestOf, type Sent, valuesOf } from '../support/exchange.ts';

const cors = new Cors(['https://app.example.com', 'http://localhost:3000']);
const from = (origin: string, sent: Sent = {}) =>
  requestOf({ method: 'POST', ...sent, headers: ['Origin', origin, ...(sent.headers ?? [])] });
const preflight = (origin: string) =>
  from(origin, { method: 'OPTIONS', headers: ['Access-Control-Request-Method', 'POST'] });

t.test('a change from an allowed origin passes', async (t) => {
  t.equal(cors.refuses(from('https://app.example.com')), false);
});

t.test('a change without an Origin is no page’s', async (t) => {
  t.equal(cors.refuses(requestOf({ method: 'POST' })), false);
});

for (const origin of [
  'https://evil.example',
  'http://app.example.com',
  'https://app.example.com:8443',
  'https://app.example.com.evil.example',
  'https://app.example.com/',
  'HTTPS://APP.EXAMPLE.COM',
  'https://x.app.example.com',
  'null',
  '',
  'file://',
  'about:blank',
  'gateway.example',
  'https://gateway.example@evil.example',
  'https://evil.example/gateway.example',
])
  t.test(`a change from ${origin || 'an empty origin'} is refused`, async (t) => {
    t.equal(cors.refuses(from(origin)), true);
  });

for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
  t.test(`${method} is a change`, async (t) => {
    t.equal(cors.refuses(from('https://evil.example', { method })), true);
  });

for (const method of ['GET', 'HEAD', 'OPTIONS', 'QUERY'])
  t.test(`${method} is none`, async (t) => {
    t.equal(cors.refuses(from('https://evil.example', { method })), false);
  });

for (const [origin, host] of [
  ['https://gateway.example', 'gateway.example'],
  ['http://gateway.example', 'gateway.example:80'],
  ['https://gateway.example', 'gateway.example:443'],
  ['http://gateway.example:8000', 'gateway.example:8000'],
  ['http://gateway.example', 'GATEWAY.example'],
  ['http://[::1]:8000', '[::1]:8000'],
] as const)
  t.test(`a page of ${origin} may change what is at ${host}`, async (t) => {
    t.equal(cors.refuses(from(origin, { headers: ['Host', host] })), false);
  });

for (const [origin, host] of [
  ['http://gateway.example:8001', 'gateway.example:8000'],
  ['http://gateway.example', 'gateway.example:8000'],
  ['http://a.gateway.example', 'gateway.example'],
] as const)
  t.test(`a page of ${origin} may not change what is at ${host}`, async (t) => {
    t.equal(cors.refuses(from(origin, { headers: ['Host', host] })), true);
  });

t.test('without a Host no page is of this host', async (t) => {
  const request = requestOf({ method: 'POST', httpVersion: '1.0', headers: ['Origin', 'http://a'] });
  delete request.headers.host;
  t.equal(cors.refuses(request), true);
});

t.test('any origin is any, null too', async (t) => {
  const any = new Cors(['*']);
  t.equal(any.refuses(from('https://evil.example')), false);
  t.equal(any.refuses(from('null')), false);
});

t.test('an allowed origin is named, and the answer varies with it', async (t) => {
  const headers = cors.headers(from('https://app.example.com'));
  t.strictSame(valuesOf(headers, 'access-control-allow-origin'), ['https://app.example.com']);
  t.strictSame(valuesOf(headers, 'vary'), ['Origin']);
  t.match(valuesOf(headers, 'access-control-expose-headers')[0], /X-RateLimit-Remaining/);
});

t.test('any origin is answered with *, never with the origin itself', async (t) => {
  t.strictSame(valuesOf(new Cors(['*']).headers(from('https://a')), 'access-control-allow-origin'), ['*']);
});

t.test('no answer lets a page send cookies along', async (t) => {
  for (const origins of [['*'], ['https://a']]) {
    t.strictSame(
      valuesOf(new Cors(origins).headers(preflight('https://a')), 'access-control-allow-credentials'),
      [],
    );
  }
});

t.test('a foreign origin learns only that the answer varies', async (t) => {
  t.strictSame(cors.headers(from('https://evil.example')), ['Vary', 'Origin']);
  t.strictSame(cors.headers(preflight('null')), ['Vary', 'Origin']);
});

t.test('without allowed origins there is nothing to say', async (t) => {
  t.strictSame(new Cors([]).headers(from('https://a')), []);
});

t.test('a preflight is told methods, headers and how long', async (t) => {
  const headers = cors.headers(preflight('http://localhost:3000'));
  t.match(valuesOf(headers, 'access-control-allow-methods')[0], /\bPATCH\b/);
  t.match(valuesOf(headers, 'access-control-allow-headers')[0], /\bX-API-Key\b/);
  t.strictSame(valuesOf(headers, 'access-control-max-age'), ['600']);
});

t.test('a preflight is an OPTIONS with an Origin and the method that will be asked for', async (t) => {
  t.equal(isPreflight(preflight('https://a')), true);
  t.equal(isPreflight(requestOf({ method: 'OPTIONS' })), false);
  t.equal(isPreflight(from('https://a', { method: 'OPTIONS' })), false);
  t.equal(isPreflight(from('https://a', { headers: ['Access-Control-Request-Method', 'POST'] })), false);
});
