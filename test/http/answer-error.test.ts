import t from 'tap';
import { type ErrorCode, errorKinds, Refusal } from '../../src/errors.ts';
import type { Exchange } from '../../src/exchange.ts';
import { answerError, refusalBody } from '../../src/http/answer-error.ts';
import { Cors } from '../../src/http/cors.ts';
import { SecurityHeaders } from '../../src/http/security-headers.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

const policy = {
  security: new SecurityHeaders(),
  cors: new Cors([]),
  clock: new FakeClock(),
  stallMs: 1_000,
  isDraining: () => false,
};

/** What a client would be sent for an error; node keeps it until there is a socket. */
function answered(error: unknown, exchange: Exchange = exchangeOf({}, { route: routeOf() })) {
  answerError(policy, exchange, error);
  const head = String(Reflect.get(exchange.response, '_header'));
  const chunks = Reflect.get(exchange.response, 'outputData') as Array<{ data: string | Buffer }>;
  const text = chunks.map(({ data }) => data.toString()).join('');
  const body = JSON.parse(text.slice(text.indexOf('{'))) as Record<string, unknown>;
  const valueIn = (name: string) =>
    head
      .split('\r\n')
      .filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`))
      .map((line) => line.slice(name.length + 1).trim());
  return { exchange, head, text, body, valueIn };
}

for (const [code, kind] of Object.entries(errorKinds))
  t.test(`${code} is answered ${kind.status}, with the same code in body and record`, async (t) => {
    const { exchange, head, body, valueIn } = answered(new Refusal(code as ErrorCode));
    t.match(head, new RegExp(`^HTTP/1\\.1 ${kind.status} `));
    t.match(body, {
      type: 'about:blank',
      title: kind.title,
      status: kind.status,
      detail: kind.detail,
      code,
      request_id: 'request-1',
    });
    t.strictSame(valueIn('content-type'), ['application/problem+json']);
    t.strictSame(valueIn('x-content-type-options'), ['nosniff']);
    t.strictSame(valueIn('x-request-id'), ['request-1']);
    t.match(exchange.outcome, {
      code,
      status: kind.status,
      decision: kind.source === 'downstream' && code !== 'client_closed' ? 'deny' : 'error',
    });
  });

for (const error of [
  new Error('connect ECONNREFUSED /run/secrets/db.sock'),
  Object.assign(new TypeError('x of undefined (mcp_secret)'), { status: 200, code: 'route_not_found' }),
  'a thrown text with a secret',
  undefined,
  null,
  { status: 200, body: 'a secret' },
])
  t.test(`what is no refusal (${String(error).slice(0, 20)}) is 500 and tells nothing`, async (t) => {
    const { exchange, head, text, body } = answered(error);
    t.match(head, /^HTTP\/1\.1 500 /);
    t.equal(body.code, 'internal_error');
    t.notMatch(text, /ECONNREFUSED|secret|undefined|at .*\.ts/);
    t.equal(exchange.outcome.cause, error, 'the log gets it');
  });

t.test('the cause of a refusal is for the log, not for the caller', async (t) => {
  const cause = new Error('SQLITE_CORRUPT at /data/portcullis.db');
  const { exchange, text } = answered(new Refusal('store_unavailable', { cause }));
  t.notMatch(text, /SQLITE|data/);
  t.equal(exchange.outcome.cause, cause);
});

t.test('the reason of a refusal is for the record, not for the caller', async (t) => {
  const { exchange, text } = answered(new Refusal('invalid_credential', { reason: 'unknown_key' }));
  t.notMatch(text, /unknown_key/);
  t.equal(exchange.outcome.reason, 'unknown_key');
});

t.test('a credential that failed gets one answer, byte for byte, whatever the reason', async (t) => {
  const bodies = (['malformed', 'unknown_key', 'expired', 'disabled', 'bad_signature'] as const).map(
    (reason) => refusalBody(new Refusal('invalid_credential', { reason }), 'r'),
  );
  t.equal(new Set(bodies).size, 1);
});

t.test('RFC 6750: without a credential the challenge has no error', async (t) => {
  t.strictSame(answered(new Refusal('credential_missing')).valueIn('www-authenticate'), [
    'Bearer realm="portcullis"',
  ]);
});

t.test('RFC 6750: a refused credential is an invalid token', async (t) => {
  t.strictSame(answered(new Refusal('invalid_credential')).valueIn('www-authenticate'), [
    'Bearer realm="portcullis", error="invalid_token"',
  ]);
});

t.test('RFC 6750: a 403 names the scope that is missing, where one is', async (t) => {
  const challenge = (refusal: Refusal) => answered(refusal).valueIn('www-authenticate');
  t.strictSame(challenge(new Refusal('permission_denied', { scope: 'create' })), [
    'Bearer realm="portcullis", error="insufficient_scope", scope="create"',
  ]);
  t.strictSame(challenge(new Refusal('permission_denied')), [
    'Bearer realm="portcullis", error="insufficient_scope"',
  ]);
  t.strictSame(challenge(new Refusal('origin_not_allowed')), ['Bearer realm="portcullis"']);
});

t.test('a 429 says when to come back, in header and body alike', async (t) => {
  const { valueIn, body } = answered(new Refusal('rate_limited', { retryAfterSeconds: 7 }));
  t.strictSame(valueIn('retry-after'), ['7']);
  t.equal(body.retry_after, 7);
});

t.test('what does not pass later has no retry', async (t) => {
  const { valueIn, body } = answered(new Refusal('permission_denied'));
  t.strictSame(valueIn('retry-after'), []);
  t.notOk('retry_after' in body);
});

t.test('no error is kept by a cache', async (t) => {
  t.strictSame(answered(new Refusal('route_not_found')).valueIn('cache-control'), ['no-store']);
});

t.test('what the parser found wrong decides over what the phases saw', async (t) => {
  const exchange = exchangeOf({}, { route: routeOf(), parserFault: new Refusal('ambiguous_framing') });
  t.equal(answered(new Error('aborted'), exchange).body.code, 'ambiguous_framing');
});

t.test('what was decided stands when the client has left before it heard', async (t) => {
  const exchange = exchangeOf({}, { route: routeOf() });
  exchange.request.socket.destroy();
  answerError(policy, exchange, new Refusal('invalid_credential', { reason: 'wrong_password' }));
  t.match(exchange.outcome, { code: 'invalid_credential', reason: 'wrong_password', decision: 'deny' });
  const faulty = exchangeOf({}, { route: routeOf() });
  faulty.request.socket.destroy();
  answerError(policy, faulty, new TypeError('ours'));
  t.match(
    faulty.outcome,
    { code: 'internal_error', cause: TypeError },
    'a mistake of ours is not the client’s',
  );
});

t.test('half an answer is cut off, never ended cleanly', async (t) => {
  const exchange = exchangeOf({}, { route: routeOf() });
  exchange.response.writeHead(200, ['Content-Type', 'text/plain']);
  exchange.response.write('half');
  answerError(policy, exchange, new Refusal('upstream_cut_off'));
  t.equal(exchange.response.destroyed, true);
  t.equal(exchange.response.writableEnded, false);
  t.equal(exchange.outcome.code, 'upstream_cut_off');
});
