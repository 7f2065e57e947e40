/** The keys of an issuer: fetched seldom, within bounds, and kept while the issuer is away. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { type FetchReport, IssuerKeys } from '../../src/credentials/issuer-keys.ts';
import {
  addressSource,
  discoverySource,
  fileSource,
  type KeySource,
} from '../../src/credentials/key-fetch.ts';
import { parseKeySet } from '../../src/credentials/key-set.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { answering, type KeyEndpoint, keyEndpoint, keySet, testKey } from '../support/issuer.ts';

const one = testKey('ES256', 'one');
const two = testKey('ES256', 'two');
const transport = { caFile: undefined, tokenFile: undefined, allowHttp: false };
type Tap = Pick<typeof t, 'teardown'>;

/** Keys whose next fetch happens when the test says so. */
function open(t: Tap, source: KeySource) {
  const clock = new FakeClock();
  const reports: FetchReport[] = [];
  const due: { delayMs: number; work: () => void }[] = [];
  const keys = new IssuerKeys({
    source,
    refreshMs: 300_000,
    clock,
    random: () => 1,
    onFetch: (report) => reports.push(report),
    later: (delayMs, work) => {
      due.push({ delayMs, work });
      return { cancel: () => {} };
    },
  });
  t.teardown(() => keys.close());
  const last = () => reports.at(-1);
  return { keys, clock, reports, due, last };
}

async function endpoint(t: Tap, body = keySet(one)): Promise<KeyEndpoint> {
  const made = await keyEndpoint(body);
  t.teardown(() => made.close());
  return made;
}

t.test('a good set is taken, and the next fetch is due after the refresh time, jittered', async (t) => {
  const { url } = await endpoint(t);
  const { keys, last, due } = open(t, addressSource(url, transport));
  await keys.refresh();
  t.same(last(), { result: 'ok', message: undefined, keys: 1, leftOut: [] });
  t.equal(keys.find('one', 'ES256').length, 1);
  t.equal(keys.find('one', 'RS256').length, 0);
  t.same(
    due.map(({ delayMs }) => delayMs),
    [330_000],
  );
});

/** How an endpoint can fail, and what is said of it. */
const failing: ReadonlyArray<
  readonly [name: string, answer: KeyEndpoint['answer'], result: string, said: RegExp]
> = [
  [
    'HTML',
    answering('<!doctype html><p>Log in</p>', 200, 'text/html; charset=utf-8'),
    'not_json',
    /^answered HTML/,
  ],
  ['HTML that says it is JSON', answering('<!doctype html>'), 'not_json', /^is not a JWK Set: not JSON$/],
  ['no JSON', answering('keys'), 'not_json', /^is not a JWK Set/],
  ['JSON that is no set', answering('{"keys":{}}'), 'not_json', /^is not a JWK Set: it has no list/],
  ['a list', answering('[]'), 'not_json', /^is not a JWK Set/],
  ['keys twice', answering(`{"keys":[],${keySet(one).slice(1)}`), 'not_json', /named twice/],
  ['an empty set', answering('{"keys":[]}'), 'no_usable_key', /^holds no key that can be used$/],
  [
    '10,000 keys',
    answering(JSON.stringify({ keys: Array.from({ length: 10_000 }, () => one.jwk) })),
    'too_large',
    /^answered more than 262144 bytes$/,
  ],
  [
    '10,000 small keys',
    answering(JSON.stringify({ keys: Array.from({ length: 10_000 }, () => ({ kty: 'x' })) })),
    'too_many_keys',
    /^holds 10000 keys; 100 are the most$/,
  ],
  ['500', answering(keySet(two), 500), 'status', /^answered 500$/],
  ['404', answering('no', 404), 'status', /^answered 404$/],
  [
    'an endless answer',
    (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = () => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      };
      response.on('drain', more);
      more();
    },
    'too_large',
    /^answered more than/,
  ],
  ['a cut', (request) => request.socket.destroy(), 'unreachable', /^cannot be reached/],
];

for (const [name, answer, result, said] of failing) {
  t.test(`an endpoint that answers ${name}: told, and the last good set stays`, async (t) => {
    const issuer = await endpoint(t);
    const { keys, last } = open(t, addressSource(issuer.url, transport));
    await keys.refresh();
    issuer.answer = answer;
    await keys.refresh();
    t.match(last(), { result, message: said, keys: 1 });
    t.equal(keys.find('one', 'ES256').length, 1, 'the last good set');
    issuer.answer = answering(keySet(two));
    await keys.refresh();
    t.match(last(), { result: 'ok' });
    t.equal(keys.find('one', 'ES256').length, 0);
    t.equal(keys.find('two', 'ES256').length, 1, 'recovers by itself');
  });
}

t.test('a redirect is refused, and where it leads is never asked', async (t) => {
  const elsewhere = await endpoint(t, keySet(two));
  const issuer = await endpoint(t);
  issuer.answer = (_request, response) => {
    response.writeHead(302, { location: elsewhere.url });
    response.end();
  };
  const { keys, last } = open(t, addressSource(issuer.url, transport));
  await keys.refresh();
  t.match(last(), { result: 'redirect', message: /^answered 302, which leads elsewhere/ });
  t.equal(elsewhere.requests.length, 0);
  t.equal(keys.known, false);
});

t.test('an endpoint that accepts and says nothing is given up', async (t) => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  await new Promise((resolve) => silent.once('listening', resolve));
  const { port } = silent.address() as AddressInfo;
  const { keys, last } = open(t, addressSource(`http://127.0.0.1:${port}`, transport));
  await keys.refresh();
  t.match(last(), { result: 'timeout', message: /^did not answer within 5000 ms$/ });
});

t.test('failures are retried with a back-off that doubles up to a minute', async (t) => {
  const { keys, due, last } = open(t, addressSource('http://127.0.0.1:9', transport));
  for (let tries = 0; tries < 8; tries++) await keys.refresh();
  t.match(last(), { result: 'unreachable' });
  const seconds = due.map(({ delayMs }) => delayMs / 1000);
  t.same(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
});

t.test('attack 23: 1,000 random kids cost at most one fetch in a cool-down', async (t) => {
  const issuer = await endpoint(t);
  const { keys, clock } = open(t, addressSource(issuer.url, transport));
  await keys.refresh();
  t.equal(issuer.requests.length, 1);
  const flood = () =>
    Promise.all(Array.from({ length: 1_000 }, () => keys.findOrAsk(`random-${Math.random()}`, 'ES256')));
  t.equal((await flood()).flat().length, 0);
  t.equal(issuer.requests.length, 2);
  clock.nowMs += 29_999;
  await flood();
  t.equal(issuer.requests.length, 2, 'none within the cool-down');
  clock.nowMs += 1;
  await flood();
  t.equal(issuer.requests.length, 3, 'one after it');
});

t.test(
  'a kid that is known never causes a fetch; a new one is found by the first token that has it',
  async (t) => {
    const issuer = await endpoint(t);
    const { keys } = open(t, addressSource(issuer.url, transport));
    await keys.refresh();
    for (let times = 0; times < 100; times++) await keys.findOrAsk('one', 'ES256');
    t.equal(issuer.requests.length, 1);
    issuer.answer = answering(keySet(one, two));
    const found = await Promise.all(Array.from({ length: 20 }, () => keys.findOrAsk('two', 'ES256')));
    t.equal(found.filter(({ length }) => length === 1).length, 20, 'all of them wait for the one fetch');
    t.equal(issuer.requests.length, 2);
  },
);

t.test('while the issuer is away, unknown kids still cost one fetch in a cool-down', async (t) => {
  const issuer = await endpoint(t);
  issuer.answer = answering('no', 503);
  const { keys } = open(t, addressSource(issuer.url, transport));
  await keys.refresh();
  for (let times = 0; times < 50; times++) await keys.findOrAsk(`k${times}`, 'ES256');
  t.equal(issuer.requests.length, 2);
});

t.test('discovery leads to the keys of the issuer that was configured, and to no other', async (t) => {
  const issuer = await endpoint(t);
  const document = (changes: object) => (request: { url?: string | undefined }, response: ServerResponse) => {
    const isDocument = request.url === '/realm/.well-known/openid-configuration';
    const found = { issuer: `${issuer.url}/realm`, jwks_uri: `${issuer.url}/jwks`, ...changes };
    answering(isDocument ? JSON.stringify(found) : keySet(one))(request as never, response);
  };
  const { keys, last } = open(t, discoverySource(`${issuer.url}/realm`, transport));
  issuer.answer = document({});
  await keys.refresh();
  t.match(last(), { result: 'ok' });
  t.same(
    issuer.requests.map(({ url }) => url),
    ['/realm/.well-known/openid-configuration', '/jwks'],
  );
  const bad: ReadonlyArray<readonly [object, string]> = [
    [{ issuer: `${issuer.url}/other` }, 'wrong_issuer'],
    [{ issuer: `${issuer.url}/realm/` }, 'wrong_issuer'],
    [{ issuer: undefined }, 'wrong_issuer'],
    [{ jwks_uri: undefined }, 'not_json'],
    [{ jwks_uri: 'file:///etc/passwd' }, 'not_https'],
    [{ jwks_uri: 'http://keys.example.com/jwks' }, 'not_https'],
  ];
  for (const [changes, result] of bad) {
    issuer.answer = document(changes);
    await keys.refresh();
    t.match(last(), { result, keys: 1 }, JSON.stringify(changes));
  }
});

t.test('the token goes to the issuer and, by discovery, to no other host', async (t) => {
  const keysElsewhere = await endpoint(t);
  const issuer = await endpoint(t);
  const tokenFile = join(t.testdir(), 'token');
  writeFileSync(tokenFile, 'first-token\n');
  const direct = open(t, addressSource(issuer.url, { ...transport, tokenFile }));
  await direct.keys.refresh();
  t.equal(issuer.requests.at(-1)?.headers.authorization, 'Bearer first-token');
  writeFileSync(tokenFile, 'second-token');
  await direct.keys.refresh();
  t.equal(issuer.requests.at(-1)?.headers.authorization, 'Bearer second-token', 'read anew at each fetch');
  issuer.answer = answering(JSON.stringify({ issuer: issuer.url, jwks_uri: keysElsewhere.url }));
  const discovered = open(t, discoverySource(issuer.url, { ...transport, tokenFile }));
  await discovered.keys.refresh();
  t.match(discovered.last(), { result: 'ok' });
  t.equal(issuer.requests.at(-1)?.headers.authorization, 'Bearer second-token');
  t.equal(keysElsewhere.requests.at(-1)?.headers.authorization, undefined);
  writeFileSync(tokenFile, 'two\nlines');
  await direct.keys.refresh();
  t.match(direct.last(), { result: 'file', message: /holds no token/ });
});

t.test('a set from a file', async (t) => {
  const file = join(t.testdir(), 'jwks.json');
  const { keys, last } = open(t, fileSource(file));
  await keys.refresh();
  t.match(last(), { result: 'file', message: /cannot be read \(ENOENT\)/ });
  writeFileSync(file, keySet(one));
  await keys.refresh();
  t.match(last(), { result: 'ok', keys: 1 });
});

t.test('weak, private, symmetric and misplaced keys are left out, and each is named', async (t) => {
  const weak = (modulusLength: number, publicExponent = 65_537) =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({ format: 'jwk' });
  const rsa = testKey('RS256').jwk;
  const left = (key: object) => {
    const { keys, leftOut } = parseKeySet(JSON.stringify({ keys: [one.jwk, key] }));
    return keys.length === 1 ? leftOut[0] : undefined;
  };
  t.equal(left(weak(1024)), 'key 1 is RSA of 1024 bits; 2048 are the least');
  t.equal(left({ ...weak(2048, 3), kid: 'e3' }), 'key 1 (kid "e3") is RSA with an exponent below 65537');
  t.match(left(testKey('EdDSA').privateKey.export({ format: 'jwk' })), /is private/);
  t.match(left({ kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' }), /is symmetric/);
  t.match(left({ ...rsa, use: 'enc' }), /\(use\)$/);
  t.match(left({ ...rsa, key_ops: ['encrypt'] }), /\(key_ops\)$/);
  t.match(left({ ...rsa, key_ops: 'verify' }), /\(key_ops\)$/);
  t.match(left({ ...rsa, alg: 'RSA-OAEP' }), /has an alg that is not RS256/);
  t.match(left({ ...rsa, alg: 'ES256' }), /has an alg/);
  t.match(left({ ...rsa, kid: 7 }), /odd kid/);
  t.match(left({ ...rsa, kid: 'x'.repeat(257) }), /odd kid/);
  t.match(left({ ...one.jwk, x: 'AAAA' }), /is damaged/);
  t.match(left({ ...one.jwk, crv: 'P-384' }), /is damaged/);
  t.match(left({ kty: 'AKP', pub: 'AA' }), /is damaged, or of a kind/);
  t.match(left({ kty: '__proto__' }), /is damaged, or of a kind/);
  for (const good of [
    { ...rsa, use: 'sig', key_ops: ['verify'], alg: 'PS256' },
    { ...rsa, kid: undefined },
    rsa,
  ]) {
    t.equal(left(good), undefined);
  }
  t.throws(() => parseKeySet(JSON.stringify({ keys: [weak(1024)] })), /holds no key that can be used/);
});

t.test('the keys of a set bind the algorithm: kind, curve and alg', async (t) => {
  const algorithms = (key: object) => parseKeySet(JSON.stringify({ keys: [key] })).keys[0]?.algorithms;
  const rsa = testKey('RS256').jwk;
  t.same(algorithms(rsa), ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);
  t.same(algorithms({ ...rsa, alg: 'RS256' }), ['RS256']);
  t.same(algorithms(one.jwk), ['ES256']);
  t.same(algorithms(testKey('EdDSA').jwk), ['EdDSA', 'Ed25519']);
});

for (const [name, odd] of [
  ['a kty that is an object', { kty: { toString: 1 } }],
  ['a kty that is a list', { kty: ['RSA'] }],
  ['an exponent as long as a set may be', { kty: 'RSA', n: 'A'.repeat(342), e: 'A'.repeat(190_000) }],
  ['a modulus without end', { kty: 'RSA', n: 'A'.repeat(100_000), e: 'AQAB' }],
  ['a coordinate that is a number', { kty: 'EC', crv: 'P-256', x: 1, y: 'AA' }],
] as const)
  t.test(`a key with ${name} is left out at once, and the others are used`, async (t) => {
    const startedMs = performance.now();
    const { keys, leftOut } = parseKeySet(JSON.stringify({ keys: [odd, one.jwk] }));
    t.equal(keys.length, 1);
    t.equal(leftOut.length, 1);
    t.ok(performance.now() - startedMs < 1_000, 'nothing was worked out that takes seconds');
  });

t.test('whatever goes wrong in a fetch, the keys before it stay and nobody is thrown at', async (t) => {
  let isOdd = false;
  const { keys, reports } = open(t, async () => {
    if (isOdd) throw new TypeError('a mistake of ours');
    return keySet(one);
  });
  await keys.refresh();
  isOdd = true;
  await keys.refresh();
  t.equal(keys.known, true);
  t.match(reports.at(-1), { result: 'internal', keys: 1 });
});
