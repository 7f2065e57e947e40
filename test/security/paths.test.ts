/** Attacks 11 to 14: the path that is authorized is the path that is forwarded. */
import t from 'tap';
import { strictValues } from '../support/strict-http.ts';
import { startEdge } from './edge.ts';

const edge = await startEdge(t);
const { head } = edge;

for (const [attack, target] of [
  ['11: dot segments', '/tools/../admin/users'],
  ['11: dot segments that are encoded', '/tools/%2e%2e%2fadmin'],
  ['11: dot segments that are half encoded', '/tools/.%2E/admin'],
  ['11: backslashes', '/tools/..\\admin'],
  ['11: an encoded backslash', '/tools/..%5cadmin'],
  ['11: a parameter behind the dots', '/tools/..;/admin'],
  ['11: a single dot', '/tools/./admin'],
  ['11: dots at the end', '/tools/..'],
  ['12: a second host', '//evil.example/admin'],
  ['12: a second host behind a backslash', '/\\evil.example/admin'],
  ['12: three slashes', '///evil.example/admin'],
  ['12: an empty segment', '/tools//admin'],
  ['13: an encoded NUL', '/tools/%00'],
  ['13: an overlong slash', '/tools/%c0%af..%c0%afadmin'],
  ['13: dots encoded twice', '/tools/%252e%252e/admin'],
  ['13: half an escape', '/tools/%2'],
  ['13: an escape that is none', '/tools/%zz'],
  ['13: an escape of Unicode', '/tools/%u002e%u002e/admin'],
  ['13: a byte over 127', '/tools/\xe4'],
  ['13: a tab', '/tools/\tadmin'],
  ['14: a fragment (CVE-2026-33494 family)', '/tools#/../admin'],
] as const)
  t.test(`attack ${attack}: ${JSON.stringify(target)} with a key that may read is refused`, async (t) => {
    await edge.refuses(t, 400, head(`GET ${target} HTTP/1.1`));
  });

t.test('attack 14: /admin#/health without credentials is refused', async (t) => {
  await edge.refuses(t, 400, 'GET /admin#/health HTTP/1.1\r\nHost: a\r\n\r\n');
});

for (const [attack, target, ...lines] of [
  ['a query that looks public', '/tools?x=/health'],
  ['a query that looks public, at the admin’s', '/admin?x=/health'],
  ['X-Forwarded-Uri (CVE-2026-40575 family)', '/tools', 'X-Forwarded-Uri: /health'],
  ['X-Original-URL', '/tools', 'X-Original-URL: /health'],
  ['X-Rewrite-URL', '/tools', 'X-Rewrite-URL: /health'],
  ['the User-Agent of a probe', '/tools', 'User-Agent: kube-probe/1.30'],
  ['another method in a header', '/tools', 'X-HTTP-Method-Override: OPTIONS'],
] as const)
  t.test(`attack 14: ${attack} is no credential: 401, and nothing is forwarded`, async (t) => {
    edge.recorder.reset();
    const answer = await edge.send(
      `GET ${target} HTTP/1.1\r\n${['Host: a', 'Connection: close', ...lines].join('\r\n')}\r\n\r\n`,
    );
    t.equal(answer.status, 401);
    t.equal(edge.recorder.bytes(), '');
  });

t.test('attack 14: with a credential, headers that name another method or path are stripped', async (t) => {
  const others = [
    'X-HTTP-Method-Override',
    'X-Method-Override',
    'X-HTTP-Method',
    'X-Original-URL',
    'X-Rewrite-URL',
  ];
  const request = await edge.passes(
    t,
    head(
      'GET /tools HTTP/1.1',
      ...others.map((name) => `${name}: DELETE`),
      'X-Forwarded-Uri: /x',
      'Connection: close',
    ),
  );
  t.equal(`${request.method} ${request.target}`, 'GET /tools');
  for (const name of [...others, 'X-Forwarded-Uri']) t.strictSame(strictValues(request, name), [], name);
});

for (const target of [
  '/tools',
  '/tools/a.b..c/...d',
  '/tools/%C3%A4%20b',
  "/tools/a:b@c!$&'()*+,=~_-",
  '/tools/x?next=/../admin&u=//evil.example/%2e%2e',
  '/tools?',
  '/tools/?a=%00',
])
  t.test(`controls 11 to 14: ${target} arrives as it was sent`, async (t) => {
    t.equal((await edge.passes(t, head(`GET ${target} HTTP/1.1`, 'Connection: close'))).target, target);
  });
