import t from 'tap';
import { Assertions } from '../../src/credentials/assertions.ts';
import { anonymous, type Exchange, type Principal, type Route } from '../../src/exchange.ts';
import { Cors } from '../../src/http/cors.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { rewriteHeaders } from '../../src/phases/rewrite-headers.ts';
import { targetDigest } from '../support/assertion-signer.ts';
import { exchangeOf, principalOf, routeOf, type Sent, upstream, valuesOf } from '../support/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testKey } from '../support/issuer.ts';

interface Given {
  readonly principal?: Principal;
  readonly route?: Partial<Route>;
  readonly exchange?: Partial<Exchange>;
}

const key = { id: 'key-1', privateKey: testKey('EdDSA').privateKey };
const assertions = new Assertions({ issuer: 'portcullis', signingKey: () => key, clock: new FakeClock() });

/** What the upstream is told when a client sends `headers`. */
function upstreamHead(sent: Sent, { principal = principalOf(), route = {}, exchange = {} }: Given = {}) {
  const made = exchangeOf(sent, exchange);
  const permit = authorize(new Cors([]), made, routeOf({ permission: 'none', ...route }), principal);
  return rewriteHeaders(assertions, made, permit);
}

const trusted: Given = { exchange: { peerTrusted: true } };
const publicly: Given = { principal: anonymous };

t.test('who asks is told in our words', async (t) => {
  const head = upstreamHead({}, { principal: principalOf({ permissions: new Set(['create', 'read']) }) });
  t.strictSame(valuesOf(head, 'X-Auth-Subject'), ['key:4fXabcdefghi']);
  t.strictSame(valuesOf(head, 'X-Auth-Type'), ['ApiKey']);
  t.strictSame(valuesOf(head, 'X-Auth-Permissions'), ['create,read']);
  t.strictSame(valuesOf(head, 'X-Auth-Key-Id'), ['4fXabcdefghi']);
  t.strictSame(valuesOf(head, 'X-Request-Id'), ['request-1']);
});

t.test('a subject is percent-encoded but for its first colon', async (t) => {
  const head = upstreamHead({}, { principal: principalOf({ subject: 'issuer:a:b\r\nX: ü' }) });
  t.strictSame(valuesOf(head, 'X-Auth-Subject'), ['issuer:a%3Ab%0D%0AX%3A%20%C3%BC']);
});

t.test('a user has no key id', async (t) => {
  const { keyId: _, ...user } = principalOf({ kind: 'user', subject: 'user:1' });
  t.strictSame(valuesOf(upstreamHead({}, { principal: user }), 'X-Auth-Key-Id'), []);
});

t.test('an anonymous caller has no X-Auth-* at all', async (t) => {
  t.notMatch(upstreamHead({}, publicly).join('\n').toLowerCase(), /x-auth-/);
});

for (const name of [
  'X-Auth-Subject',
  'x-auth-subject',
  'x_auth_subject',
  'X_Auth-Subject',
  'x-auth_permissions',
  'X-AUTH-ANYTHING',
  'X-Auth-Assertion',
  'X-Auth-',
])
  t.test(`attack 16, CVE-2025-64484: a client's ${name} is dropped, on a public route too`, async (t) => {
    const sent = { headers: [name, 'admin', name, 'admin2'] };
    t.notMatch(upstreamHead(sent, publicly).join('\n'), /admin|x.auth/i);
    t.notMatch(upstreamHead(sent).join('\n'), /admin/);
  });

for (const connection of [
  'X-Auth-Subject, X-Forwarded-For',
  'x-auth-subject,x-forwarded-proto,x-forwarded-host,x-request-id,traceparent,host,via',
  'close, X_Auth_Subject',
])
  t.test(
    `attack 15, CVE-2024-45410: nominated by Connection: ${connection}, ours still arrive`,
    async (t) => {
      for (const given of [{}, trusted]) {
        const head = upstreamHead(
          { headers: ['Connection', connection, 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'a'] },
          given,
        );
        for (const name of [
          'X-Auth-Subject',
          'X-Forwarded-For',
          'X-Forwarded-Proto',
          'X-Forwarded-Host',
          'X-Request-Id',
          'traceparent',
          'Host',
          'Via',
        ]) {
          t.equal(valuesOf(head, name).length, 1, name);
        }
      }
    },
  );

t.test('what Connection nominates does not pass, in either spelling', async (t) => {
  const head = upstreamHead({
    headers: [
      'Connection',
      'X-Secret',
      'Connection',
      'X_Other',
      'X-Secret',
      's3',
      'x_secret',
      's3',
      'X_Other',
      's3',
      'x-other',
      's3',
    ],
  });
  t.notMatch(head.join('\n'), /s3|connection/i);
});

for (const header of [
  'Keep-Alive',
  'Proxy-Connection',
  'Proxy-Authorization',
  'TE',
  'Trailer',
  'Transfer-Encoding',
  'Upgrade',
  'Expect',
  '__proto__',
  '__Proto__',
  'X-HTTP-Method-Override',
  'x_http_method_override',
  'X-HTTP-Method',
  'X-Method-Override',
  'X-Original-URL',
  'X-Original-URI',
  'X-Rewrite-URL',
])
  t.test(`${header} does not pass`, async (t) => {
    for (const given of [{}, trusted])
      t.notMatch(upstreamHead({ headers: [header, 'v4lue'] }, given).join('\n'), /v4lue/);
  });

for (const header of [
  'Accept',
  'Content-Type',
  'Content-Length',
  'Cookie',
  'If-Match',
  'User-Agent',
  'X-Anything',
])
  t.test(`${header} passes as it was sent`, async (t) => {
    t.strictSame(valuesOf(upstreamHead({ headers: [header, 'v4lue'] }), header), ['v4lue']);
  });

t.test('repeated headers stay repeated, in order and spelling', async (t) => {
  const head = upstreamHead({ headers: ['X-a', '1', 'Other', '2', 'x-A', '3'] });
  t.strictSame(head.slice(0, 6), ['X-a', '1', 'Other', '2', 'x-A', '3']);
});

t.test('attack 17: an untrusted peer is all there is to X-Forwarded-*', async (t) => {
  const head = upstreamHead({
    peer: '192.0.2.1',
    headers: [
      'X-Forwarded-For',
      '1.2.3.4',
      'X-Forwarded-Proto',
      'https',
      'X-Forwarded-Host',
      'evil',
      'X-Forwarded-Uri',
      '/health',
      'X-Forwarded-Prefix',
      '/x',
      'Forwarded',
      'for=1.2.3.4',
      'X-Real-IP',
      '1.2.3.4',
      'x_forwarded_for',
      '1.2.3.4',
      'x_real_ip',
      '1.2.3.4',
    ],
  });
  t.strictSame(valuesOf(head, 'X-Forwarded-For'), ['192.0.2.1']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Proto'), ['http']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Host'), ['gateway.example']);
  t.notMatch(head.join('\n'), /1\.2\.3\.4|evil|health|prefix/i);
});

t.test('a trusted peer is believed, and put behind its chain', async (t) => {
  const head = upstreamHead(
    {
      peer: '10.0.0.1',
      headers: [
        'X-Forwarded-For',
        '192.0.2.1',
        'X-Forwarded-Proto',
        'https',
        'X-Forwarded-Host',
        'app.example',
        'X-Forwarded-Prefix',
        '/x',
        'X-Real-IP',
        '192.0.2.1',
      ],
    },
    trusted,
  );
  t.strictSame(valuesOf(head, 'X-Forwarded-For'), ['192.0.2.1, 10.0.0.1']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Proto'), ['https']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Host'), ['app.example']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Prefix'), ['/x']);
  t.strictSame(valuesOf(head, 'X-Real-IP'), ['192.0.2.1']);
});

t.test('a trusted peer passes no underscored spelling, which a client may have slipped in', async (t) => {
  t.notMatch(
    upstreamHead({ headers: ['X_Forwarded_For', '1.2.3.4', 'x_forwarded_uri', '/health'] }, trusted).join(
      '\n',
    ),
    /1\.2\.3\.4|health/,
  );
});

t.test('what a trusted peer does not say, we do', async (t) => {
  const head = upstreamHead({ peer: '::ffff:10.0.0.1' }, trusted);
  t.strictSame(valuesOf(head, 'X-Forwarded-For'), ['10.0.0.1']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Proto'), ['http']);
  t.strictSame(valuesOf(head, 'X-Forwarded-Host'), ['gateway.example']);
});

for (const header of ['Authorization', 'X-API-Key', 'authorization', 'x_api_key'])
  t.test(`${header} is not forwarded`, async (t) => {
    t.notMatch(upstreamHead({ headers: [header, 'Bearer s3cret'] }).join('\n'), /s3cret/);
  });

t.test('a route may ask for the credential', async (t) => {
  const route = { forwardCredentials: true };
  t.strictSame(
    valuesOf(upstreamHead({ headers: ['Authorization', 'Bearer x'] }, { route }), 'Authorization'),
    ['Bearer x'],
  );
  t.strictSame(valuesOf(upstreamHead({ headers: ['X-API-Key', 'x'] }, { route }), 'X-API-Key'), ['x']);
});

t.test(
  'CVE-2025-64484: a second, unverified credential in another spelling is not forwarded with it',
  async (t) => {
    const head = upstreamHead(
      { headers: ['X-API-Key', 'good', 'X_API_Key', 's3cond'] },
      { route: { forwardCredentials: true } },
    );
    t.notMatch(head.join('\n'), /s3cond/);
  },
);

t.test('a client’s request id is in ours or nowhere', async (t) => {
  t.strictSame(
    valuesOf(upstreamHead({ headers: ['X-Request-Id', 'theirs', 'x_request_id', 'theirs'] }), 'X-Request-Id'),
    ['request-1'],
  );
});

t.test('Via is added to, not replaced', async (t) => {
  t.strictSame(valuesOf(upstreamHead({ headers: ['Via', '1.1 edge'] }), 'Via'), ['1.1 edge, 1.1 portcullis']);
});

t.test('HTTP/1.0 without Host gets one upstream', async (t) => {
  const exchange = exchangeOf({ httpVersion: '1.0', headers: ['Host', ''] });
  const permit = authorize(new Cors([]), exchange, routeOf({ permission: 'none' }), anonymous);
  t.strictSame(valuesOf(rewriteHeaders(assertions, exchange, permit), 'Host'), ['localhost']);
});

t.test('a valid trace continues, and the record has it', async (t) => {
  const exchange = exchangeOf({ headers: ['traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`] });
  const permit = authorize(new Cors([]), exchange, routeOf({ permission: 'none' }), anonymous);
  rewriteHeaders(assertions, exchange, permit);
  t.equal(exchange.trace.traceId, 'a'.repeat(32));
});

t.test('what is answered here needs no upstream head', async (t) => {
  t.strictSame(
    upstreamHead({}, { route: { destination: { kind: 'refusal', code: 'route_not_found' } } }),
    [],
  );
});

/** A route that asks for the assertion. */
const asserting = { destination: { kind: 'upstream', upstream, assertion: true } } as const;
const claimsIn = (head: readonly string[]) => {
  const [assertion = ''] = valuesOf(head, 'X-Auth-Assertion');
  return JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString());
};

t.test('a route that asks for it has one assertion, of this request', async (t) => {
  const head = upstreamHead({ method: 'HEAD', target: '/tools/%41?q=a%20b' }, { route: asserting });
  t.equal(valuesOf(head, 'X-Auth-Assertion').length, 1);
  t.match(claimsIn(head), {
    aud: 'registry',
    sub: 'key:4fXabcdefghi',
    method: 'HEAD',
    target_sha256: targetDigest('/tools/%41?q=a%20b'),
  });
});

t.test('a route that does not ask for it has none', async (t) => {
  t.strictSame(valuesOf(upstreamHead({}), 'X-Auth-Assertion'), []);
});

t.test(
  'of an anonymous caller the assertion says that it is nobody, and no other header says anything',
  async (t) => {
    const head = upstreamHead({}, { ...publicly, route: asserting });
    t.match(claimsIn(head), { sub: '', auth_type: 'none', scope: '' });
    t.equal(head.join('\n').match(/x-auth-/gi)?.length, 1);
  },
);

for (const name of ['X-Auth-Assertion', 'x_auth_assertion', 'X_Auth-Assertion', 'x-AUTH_assertion'])
  t.test(`attack 16: a client's ${name} never reaches the upstream, only ours does`, async (t) => {
    for (const connection of ['close', name, 'X-Auth-Assertion, x_auth_assertion']) {
      const head = upstreamHead(
        { headers: ['Connection', connection, name, 'forged', name, 'forged'] },
        { route: asserting },
      );
      t.notMatch(head.join('\n'), /forged/);
      t.equal(head.filter((text) => /^x.auth.assertion$/i.test(text)).length, 1, connection);
      t.equal(valuesOf(head, 'X-Auth-Assertion').length, 1);
    }
  });
