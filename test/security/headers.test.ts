/** Attacks 15 to 20: who is asking, in headers that a client cannot forge, remove or double. */
import t, { type Test } from 'tap';
import { type StrictRequest, strictValues } from '../support/strict-http.ts';
import { type Edge, startEdge } from './edge.ts';

const edge = await startEdge(t);
const { head } = edge;

/** Each of our words about the caller stands exactly once, and it is ours. */
function identityIsOurs(t: Test, { subject }: Edge, request: StrictRequest): void {
  t.strictSame(strictValues(request, 'x-auth-subject'), [subject]);
  t.strictSame(strictValues(request, 'x-auth-type'), ['ApiKey']);
  t.strictSame(strictValues(request, 'x-auth-permissions'), ['read']);
  t.strictSame(strictValues(request, 'x-forwarded-for'), ['127.0.0.1']);
  t.equal(strictValues(request, 'x-request-id').length, 1);
  const spelled = request.headers.filter(([name]) => /^x[-_]auth/i.test(name)).map(([name]) => name);
  t.strictSame(spelled.toSorted(), ['X-Auth-Key-Id', 'X-Auth-Permissions', 'X-Auth-Subject', 'X-Auth-Type']);
}

for (const connection of [
  'X-Auth-Subject, X-Forwarded-For',
  'x-auth-subject,x-auth-permissions,x-auth-type,x-request-id,traceparent,host',
  'close, X_Auth_Subject , x-forwarded-for',
])
  t.test(
    `attack 15: CVE-2024-45410, CVE-2025-48865: Connection: ${connection} removes nothing of ours`,
    async (t) => {
      const request = await edge.passes(
        t,
        head('GET /tools HTTP/1.1', `Connection: ${connection}`, 'X-Auth-Subject: user:1', 'X-Hop: 1'),
      );
      identityIsOurs(t, edge, request);
      t.strictSame(strictValues(request, 'host'), ['gateway.example']);
      t.strictSame(strictValues(request, 'connection'), ['keep-alive']);
    },
  );

for (const [name, ...lines] of [
  ['in our spelling', 'X-Auth-Subject: admin'],
  ['with underscores', 'x_auth_subject: admin'],
  ['in part with underscores', 'X-Auth_Subject: admin', 'X_Auth-Permissions: admin'],
  ['repeated, in every case', 'X-AUTH-SUBJECT: admin', 'x-auth-subject: admin', 'X_AUTH_SUBJECT: admin'],
  ['of names to come', 'X-Auth-Roles: admin', 'X-Auth-Assertion: a.b.c', 'X-Auth-Permissions: admin'],
] as const) {
  t.test(`attack 16: CVE-2025-64484: an identity header ${name} gives way to ours`, async (t) => {
    identityIsOurs(t, edge, await edge.passes(t, head('GET /tools HTTP/1.1', ...lines, 'Connection: close')));
  });
  t.test(
    `attack 16: CVE-2025-64484: an identity header ${name} does not pass on a public route`,
    async (t) => {
      const request = await edge.passes(
        t,
        `GET /open/x HTTP/1.1\r\n${['Host: a', ...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`,
      );
      t.notMatch(request.headers.map(([header]) => header).join(), /x[-_]auth/i);
    },
  );
}

t.test('controls 15 and 16: other headers arrive in their order, byte for byte', async (t) => {
  const lines = [
    'X-A: 1',
    'x-b: two  words',
    'X-A: 3',
    'Cookie: a=1; b="2"',
    'X-Authority: kept',
    'X-L: \xe4',
  ];
  const request = await edge.passes(t, head('GET /tools HTTP/1.1', ...lines, 'Connection: close'));
  const sent = request.headers.map(([name, value]) => `${name}: ${value}`);
  t.strictSame(
    sent.filter((line) => lines.includes(line)),
    lines,
  );
});

t.test(
  'attack 17: X-Forwarded-For from a peer that is not trusted is replaced, and nobody is trusted',
  async (t) => {
    const lines = [
      'X-Forwarded-For: 6.6.6.6',
      'Forwarded: for=6.6.6.6',
      'X-Real-IP: 6.6.6.6',
      'X-Forwarded-Proto: https',
    ];
    const request = await edge.passes(t, head('GET /tools HTTP/1.1', ...lines, 'Connection: close'));
    t.strictSame(strictValues(request, 'x-forwarded-for'), ['127.0.0.1']);
    t.strictSame(strictValues(request, 'x-forwarded-proto'), ['http']);
    for (const name of ['forwarded', 'x-real-ip']) t.strictSame(strictValues(request, name), []);
    t.match((await edge.gateway.audit()).at(-1), { client_ip: '127.0.0.1' });
  },
);

t.test('control 17: a trusted peer’s chain is kept, with the peer behind it', async (t) => {
  const behind = await startEdge(t, { listen: 'trusted_proxies: [127.0.0.1]' });
  const request = await behind.passes(
    t,
    behind.head('GET /tools HTTP/1.1', 'X-Forwarded-For: 6.6.6.6, 203.0.113.9', 'Connection: close'),
  );
  t.strictSame(strictValues(request, 'x-forwarded-for'), ['6.6.6.6, 203.0.113.9, 127.0.0.1']);
  t.match((await behind.gateway.audit()).at(-1), { client_ip: '203.0.113.9' });
});

for (const [name, ...lines] of [
  ['two Authorization lines', `Authorization: Bearer ${edge.key}`, `Authorization: Bearer ${edge.key}`],
  ['two X-API-Key lines', `X-API-Key: ${edge.key}`, `X-API-Key: ${edge.key}`],
  ['Bearer with X-API-Key', `Authorization: Bearer ${edge.key}`, `X-API-Key: ${edge.key}`],
  ['Basic with X-API-Key', 'Authorization: Basic YTpi', `X-API-Key: ${edge.key}`],
] as const)
  t.test(`attack 18: ${name}: 400, and nothing is forwarded`, async (t) => {
    edge.recorder.reset();
    const request = `GET /tools HTTP/1.1\r\n${['Host: a', ...lines, 'Connection: close'].join('\r\n')}\r\n\r\n`;
    const answer = await edge.send(request);
    t.equal(answer.status, 400);
    t.equal(edge.recorder.bytes(), '');
    t.match((await edge.gateway.audit()).at(-1), { status_code: 400, decision: 'deny' });
  });

t.test('control 18: either of them alone passes, and stays here', async (t) => {
  for (const line of [`Authorization: Bearer ${edge.key}`, `X-API-Key: ${edge.key}`]) {
    const request = await edge.passes(
      t,
      `GET /tools HTTP/1.1\r\nHost: a\r\n${line}\r\nConnection: close\r\n\r\n`,
    );
    t.notMatch(request.headers.flat().join(), edge.key);
  }
});

t.test('attack 19: __proto__ as a header is stripped, and poisons nothing', async (t) => {
  const lines = ['__proto__: x', 'constructor: x', 'toString: x', 'hasOwnProperty: x'];
  const request = await edge.passes(t, head('GET /tools HTTP/1.1', ...lines, 'Connection: close'));
  t.strictSame(strictValues(request, '__proto__'), []);
  t.strictSame(strictValues(request, 'toString'), ['x'], 'a name like any other');
  t.equal(({} as Record<string, unknown>).x, undefined);
});

for (const [name, ...lines] of [
  ['2,000 headers', ...Array.from({ length: 2_000 }, () => 'a:')],
  ['a header of 17 KB', `X-Large: ${'a'.repeat(17 * 1024)}`],
  ['101 headers', ...Array.from({ length: 99 }, (_, index) => `X-${index}: 1`)],
] as const)
  t.test(`attack 19: ${name}: 431, and it lives on`, async (t) => {
    await edge.refuses(t, 431, head('GET /tools HTTP/1.1', ...lines));
    await edge.passes(t, head('GET /tools HTTP/1.1', 'Connection: close'));
  });

t.test('control 19: 100 headers pass, and one of 14 KB', async (t) => {
  const many = Array.from({ length: 97 }, (_, index) => `X-${index}: 1`);
  const request = await edge.passes(t, head('GET /tools HTTP/1.1', ...many, 'Connection: close'));
  for (const [index] of many.entries()) t.strictSame(strictValues(request, `X-${index}`), ['1']);
  const large = 'a'.repeat(14 * 1024);
  const other = await edge.passes(t, head('GET /tools HTTP/1.1', `X-Large: ${large}`, 'Connection: close'));
  t.strictSame(strictValues(other, 'x-large'), [large]);
});

const securityHeaders = [
  'x-content-type-options',
  'x-frame-options',
  'x-xss-protection',
  'strict-transport-security',
  'referrer-policy',
  'permissions-policy',
  'content-security-policy',
  'x-request-id',
];

t.test(
  'attack 20: what a response nominates is gone, and each security header stands exactly once',
  async (t) => {
    const answering = await startEdge(t, {
      respond: (socket, chunk) => {
        if (!chunk.includes('\r\n\r\n')) return;
        socket.write(
          Buffer.from(
            'HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nX_Secret: 1\r\nKeep-Alive: timeout=9\r\n' +
              `${securityHeaders.map((name) => `${name}: theirs\r\n`).join('')}X-Kept: 1\r\nContent-Length: 4\r\n\r\n\x00\xffok`,
            'latin1',
          ),
        );
      },
    });
    const answer = await answering.send(answering.head('GET /tools HTTP/1.1', 'Connection: close'));
    t.equal(answer.status, 200);
    for (const name of ['x-secret', 'x_secret']) t.notOk(answer.headers.has(name), name);
    for (const name of securityHeaders) {
      t.equal(answer.headers.get(name)?.length, 1, name);
      t.notMatch(answer.headers.get(name)?.[0], 'theirs');
    }
    t.strictSame(answer.headers.get('x-kept'), ['1'], 'control 20: what is not ours passes');
    t.equal(answer.body, '\x00\xffok', 'control 20: and so does the body, byte for byte');
  },
);
