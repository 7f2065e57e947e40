/** `auth.tokens.keys` and `auth.issuers`: what is taken, and what is said of what is not. */
import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { keySet, testKey } from '../support/issuer.ts';
import { least, linesOf, parse } from './reading.ts';

const key = testKey('EdDSA');
const privatePem = key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const publicPem = key.publicKey.export({ type: 'spki', format: 'pem' }).toString();
const weakPem = generateKeyPairSync('rsa', { modulusLength: 1024 })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();
const curvePem = generateKeyPairSync('ec', { namedCurve: 'P-521' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();
const files = {
  'a.pem': privatePem,
  'public.pem': publicPem,
  'weak.pem': weakPem,
  'p521.pem': curvePem,
  'text.pem': 'not a key',
  'jwks.json': keySet(key),
  'login.html': '<!doctype html>',
  'many.json': JSON.stringify({ keys: Array.from({ length: 10_000 }, () => ({ kty: 'x' })) }),
  token: 'abc',
  'two-lines': 'a\nb',
};

const said = (auth: string, env: Record<string, string> = {}) =>
  linesOf(`${least}auth: ${auth}\n`, env, files);
const issuer = (fields: string) =>
  said(`{ issuers: [{ name: corp, issuer: "https://x.example", audience: tools, ${fields} }] }`);
const parsed = (fields: string) => {
  const yaml = `${least}auth: { issuers: [{ name: corp, issuer: "https://x.example", audience: tools, ${fields} }] }\n`;
  return parse(yaml, {}, files);
};

t.test('key files: a private one first, public ones after it', async (t) => {
  t.same(said('{ tokens: { keys: [{ file: a.pem }, { file: public.pem }] } }'), []);
  t.same(
    said('{ tokens: { secrets: [""], keys: [{ file: a.pem }] } }'),
    [],
    'an empty SECRET_KEY does not count',
  );
});

/** `auth:` → what `check` says, with its place. */
const badKeys: ReadonlyArray<readonly [auth: string, said: string | RegExp]> = [
  [
    '{ tokens: { keys: [{ file: public.pem }] } }',
    '9:34 auth.tokens.keys.0.file: is only a public key, and the first of the list signs. Put a private key first.',
  ],
  [
    '{ tokens: { keys: [{ file: weak.pem }] } }',
    /^9:34 auth\.tokens\.keys\.0\.file: is RSA of 1024 bits; 2048 are the least\. Make one with: openssl/,
  ],
  [
    '{ tokens: { keys: [{ file: p521.pem }] } }',
    /^9:34 .*: is on the curve secp521r1, which our tokens do not use; P-256 is\./,
  ],
  ['{ tokens: { keys: [{ file: text.pem }] } }', /^9:34 .*: is not PEM\. Make one with: openssl genpkey/],
  [
    '{ tokens: { keys: [{ file: none.pem }] } }',
    /^9:34 .*: cannot be read: there is no such file\. Mount the file/,
  ],
  ['{ tokens: { keys: [a.pem] } }', /^9:26 auth\.tokens\.keys\.0: must be a map with the keys file/],
  [
    '{ tokens: { secrets: [Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ], keys: [{ file: a.pem }] } }',
    '9:70 auth.tokens.keys: stands beside auth.tokens.secrets, and only one of them can sign. Remove keys, or leave secrets (SECRET_KEY) empty.',
  ],
];

for (const [auth, expected] of badKeys) {
  t.test(`bad keys: ${auth}`, async (t) => {
    const lines = said(auth);
    t.match(lines, [expected]);
    t.equal(lines.length, 1);
    t.notMatch(lines.join(), /Kq3vT8/, 'no secret is shown');
  });
}

t.test('an issuer is parsed: defaults, one audience or a list, paths, words', async (t) => {
  const { config, warnings } = parsed(
    'jwks_uri: "https://x.example/jwks", permissions: { claims: [{ claim: realm_access.roles, values: { a: admin, b: [read, create] } }, { claim: ["https://x.example/roles"] }] }',
  );
  t.same(warnings, []);
  const [corp] = config.auth.issuers;
  t.match(corp, {
    audience: ['tools'],
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    typ: ['absent', 'jwt', 'at+jwt'],
    leeway: 30_000,
    refresh: 300_000,
    discovery: false,
  });
  const [roles, url] = corp?.permissions.claims ?? [];
  t.same(roles, {
    claim: ['realm_access', 'roles'],
    values: [
      ['a', ['admin']],
      ['b', ['read', 'create']],
    ],
  });
  t.same(url?.claim, ['https://x.example/roles']);
  const byItself = new Map(url?.values);
  t.same(byItself.get('read'), ['read'], 'without values the words mean themselves');
  t.equal(byItself.get('admin'), undefined, 'but nobody becomes an admin by accident');
});

t.test('what an issuer’s claims allow is part of the digest', async (t) => {
  const digest = (word: string) =>
    parsed(`jwks_file: jwks.json, permissions: { claims: [{ claim: a, values: { x: ${word} } }] }`).digest;
  t.equal(digest('read'), digest('read'));
  t.not(digest('read'), digest('admin'));
});

const badIssuers: ReadonlyArray<readonly [fields: string, said: RegExp]> = [
  [
    'leeway: 10s',
    /auth\.issuers\.0: says nothing of where the keys of the issuer come from\. Write one of jwks_uri/,
  ],
  ['discovery: true, jwks_file: jwks.json', /auth\.issuers\.0: has more than one source of keys/],
  [
    'jwks_uri: "http://x.example/jwks"',
    /auth\.issuers\.0\.jwks_uri: is plain http, over which anyone in between/,
  ],
  ['jwks_uri: "https://u:p@x.example/jwks"', /jwks_uri: must be an https URL without credentials/],
  ['jwks_uri: "ftp://x.example"', /jwks_uri: must be an https URL/],
  ['discovery: true, leeway: 31s', /leeway: must be a duration from .* to 30s/],
  ['discovery: true, refresh: 1s', /refresh: must be a duration from 10s/],
  ['discovery: true, algorithms: [HS256]', /algorithms\.0: must be one of RS256, .* or Ed25519/],
  ['discovery: true, algorithms: [none]', /algorithms\.0: must be one of RS256/],
  ['discovery: true, algorithms: []', /algorithms: must be a list of algorithms/],
  ['discovery: true, typ: []', /typ: must be a list of up to 8 types/],
  [
    'discovery: true, permissions: { grant: [admin] }',
    /grant\.0: must be a list of create, read, update and delete; admin is never/,
  ],
  [
    'discovery: true, permissions: { claims: [{ claim: "https://x/roles" }] }',
    /claim: must be a path such as realm_access\.roles, or, where a name has dots/,
  ],
  [
    'discovery: true, permissions: { claims: [{ claim: kubernetes.io.serviceaccount.name }] }',
    /claim: must be a path such as .* a list such as/,
  ],
  ['discovery: true, permissions: { claims: [{ claim: a..b }] }', /claim: must be a path/],
  [
    'discovery: true, permissions: { claims: [{ claim: a, values: { x: root } }] }',
    /values\.x: must be one or a list of create, read, update, delete, admin/,
  ],
  ['jwks_file: login.html', /jwks_file: is not a JWK Set: not JSON\. Write the path of a JWK Set/],
  ['jwks_file: many.json', /jwks_file: holds 10000 keys; 100 are the most/],
  ['jwks_file: none.json', /jwks_file: cannot be read: there is no such file/],
  ['jwks_file: jwks.json, token_file: token', /token_file: is for keys that are fetched/],
  ['discovery: true, ca_file: jwks.json', /ca_file: holds no certificate/],
  ['discovery: true, token_file: two-lines', /token_file: holds no token/],
  ['discovery: true, jwks_url: x', /auth\.issuers\.0\.jwks_url: is not a key here\. Did you mean jwks_uri\?/],
];

for (const [fields, expected] of badIssuers) {
  t.test(`bad issuer: ${fields}`, async (t) => {
    const lines = issuer(fields);
    t.equal(lines.length, 1);
    t.match(lines, [expected]);
    t.match(lines[0], /^9:\d+ /, 'with its place');
  });
}

t.test('http is taken from this machine, and where it is allowed in so many words', async (t) => {
  for (const fields of [
    'jwks_uri: "http://127.0.0.1:1/jwks"',
    'jwks_uri: "http://[::1]:1/jwks"',
    'jwks_uri: "http://localhost/jwks"',
    'jwks_uri: "http://x.example/jwks", allow_http: true',
    'discovery: true',
    'jwks_file: jwks.json',
  ]) {
    t.same(issuer(fields), [], fields);
  }
  t.equal(issuer('jwks_uri: "http://127.0.0.1.x.example/jwks"').length, 1);
});

t.test('names and issuers stand for one issuer each', async (t) => {
  const two = (first: string, second: string) => said(`{ issuers: [{ ${first} }, { ${second} }] }`);
  const fields = (name: string, iss: string) =>
    `name: ${name}, issuer: "${iss}", audience: a, jwks_file: jwks.json`;
  t.same(two(fields('a', 'x'), fields('b', 'y')), []);
  t.match(two(fields('a', 'x'), fields('a', 'y')), [
    /issuers\.1\.name: is the same as auth\.issuers\.0\.name/,
  ]);
  t.match(two(fields('a', 'x'), fields('b', 'x')), [
    /issuers\.1\.issuer: is the same as auth\.issuers\.0\.issuer/,
  ]);
  t.match(two(fields('a', 'x'), fields('b', 'portcullis')), [
    /issuers\.1\.issuer: is the same as auth\.tokens\.issuer/,
  ]);
  for (const name of ['user', 'key', 'cli', 'address']) {
    t.match(two(fields('a', 'x'), fields(name, 'y')), [/issuers\.1\.name: is the start of other subjects/]);
  }
  t.match(
    said(`{ issuers: [{ ${fields('a', 'not a url').replace('jwks_file: jwks.json', 'discovery: true')} }] }`),
    [/issuers\.0\.issuer: is no URL, so there is nothing to discover/],
  );
});

t.test('an issuer whose tokens allow nothing is worth a warning', async (t) => {
  t.match(parsed('jwks_file: jwks.json').warnings, [{ path: 'auth.issuers.0', message: /allow nothing/ }]);
});
