/** How the registry comes to the gateway's keys, and what it does without them. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { GatewayKeys, type KeySource, readKeys } from '../../registry/gateway-keys.ts';
import { parseKeyPlace, readableFile, urlSource } from '../../registry/key-source.ts';
import { StartError } from '../../registry/listen.ts';
import { startRegistry } from '../../registry/start.ts';
import { assertionSigner } from '../support/assertion-signer.ts';
import { answering, keyEndpoint, testKey } from '../support/issuer.ts';
import { sender, temporaryDirectory } from './registry.ts';

const silent = pino({ level: 'silent' });
const old = assertionSigner('old');
const next = assertionSigner('next');

function keysFrom(t: Test, source: KeySource, now = { ms: 1_000_000 }) {
  const keys = new GatewayKeys(source, silent, () => now.ms);
  t.teardown(() => keys.close());
  return { keys, now };
}

t.test('a storm of unknown key ids causes one fetch in each cool-down', async (t) => {
  const endpoint = await keyEndpoint(old.jwks);
  t.teardown(() => endpoint.close());
  const { keys, now } = keysFrom(t, urlSource(endpoint.url));
  await keys.refresh();
  t.equal(endpoint.requests.length, 1);
  const storm = () => Promise.all(Array.from({ length: 500 }, (_, index) => keys.find(`unknown-${index}`)));
  await storm();
  t.equal(endpoint.requests.length, 2);
  await storm();
  now.ms += 29_999;
  await storm();
  t.equal(endpoint.requests.length, 2, 'and no more within half a minute');
  now.ms += 1;
  await storm();
  t.equal(endpoint.requests.length, 3);
  t.ok(await keys.find('old'), 'known ones go on');
});

t.test('a storm against a gateway that is away causes one fetch in each cool-down too', async (t) => {
  let fetches = 0;
  const { keys } = keysFrom(t, async () => {
    fetches += 1;
    if (fetches > 1) throw new Error('away');
    return old.jwks;
  });
  await keys.refresh();
  for (let round = 0; round < 50; round += 1) await keys.find('unknown');
  t.equal(fetches, 2);
});

t.test('a new key is found by the first request that is signed with it', async (t) => {
  let jwks = old.jwks;
  const { keys } = keysFrom(t, async () => jwks);
  await keys.refresh();
  jwks = next.jwks;
  t.ok(await keys.find('next'));
  t.equal(await keys.find('old'), undefined, 'what is no longer published is no longer believed');
});

t.test('whatever a failing gateway answers, the last good keys are kept', async (t) => {
  const endpoint = await keyEndpoint(old.jwks);
  const { keys } = keysFrom(t, urlSource(endpoint.url));
  await keys.refresh();
  for (const answer of [
    answering('<html>', 200, 'text/html'),
    answering('{"keys": []}'),
    answering('{}'),
    answering(old.jwks, 500),
    answering('x'.repeat(300 * 1024)),
  ]) {
    endpoint.answer = answer;
    await keys.refresh();
    t.ok(await keys.find('old'));
  }
  await endpoint.close();
  await keys.refresh();
  t.ok(await keys.find('old'));
});

t.test('a redirect is not followed', async (t) => {
  const other = await keyEndpoint(next.jwks);
  t.teardown(() => other.close());
  const endpoint = await keyEndpoint('');
  t.teardown(() => endpoint.close());
  endpoint.answer = (_request, response) => response.writeHead(302, { location: other.url }).end();
  await t.rejects(urlSource(endpoint.url)(), { message: /answered 302/ });
  t.equal(other.requests.length, 0);
});

t.test('only Ed25519 keys for signatures are taken, and a set without one is none', async (t) => {
  const { jwk } = testKey('EdDSA', 'a');
  const others = [
    { ...testKey('RS256', 'r').jwk },
    { ...testKey('ES256', 'e').jwk },
    { kty: 'oct', k: 'c2VjcmV0', kid: 'o' },
    { ...jwk, kid: 'enc', use: 'enc' },
    { ...jwk, kid: 'alg', alg: 'ES256' },
    { ...jwk, kid: undefined },
    null,
    7,
  ];
  t.same([...readKeys(JSON.stringify({ keys: [...others, jwk] })).keys()], ['a']);
  t.throws(() => readKeys(JSON.stringify({ keys: others })), /no Ed25519 key/);
  t.throws(() => readKeys('['), /not JSON/);
  t.throws(() => readKeys('[]'), /no JWK Set/);
  t.throws(() => readKeys(JSON.stringify({ keys: Array(101).fill(jwk) })), /more than 100/);
  t.throws(() => readKeys(JSON.stringify({ keys: [{ ...jwk, x: 'AA' }] })), /damaged/);
});

t.test(
  'until the keys are here, requests and health are 503 with Retry-After, and then they are not',
  async (t) => {
    const endpoint = await keyEndpoint('');
    t.teardown(() => endpoint.close());
    endpoint.answer = answering('', 503);
    const log: string[] = [];
    const registry = await startRegistry({
      databaseUrl: `sqlite:${temporaryDirectory(t)}/registry.db`,
      listen: '127.0.0.1:0',
      allowNonLoopback: false,
      log: pino({ level: 'trace' }, { write: (line: string) => void log.push(line) }),
      wallMs: Date.now,
      assertions: { issuer: 'portcullis', audience: 'registry', source: urlSource(endpoint.url) },
    });
    t.teardown(() => registry.close());
    const call = async (target: string) => {
      const assertion = old.assertion({ method: 'GET', target });
      return sender(registry.url, 'unsigned')('GET', target, undefined, { 'x-auth-assertion': assertion });
    };
    for (const target of ['/tools', '/health']) {
      const { status, json, headers } = await call(target);
      t.match({ status, json }, { status: 503, json: { code: 'keys_unavailable', retry_after: 1 } }, target);
      t.equal(headers.get('retry-after'), '1');
    }
    t.equal((await call('/openapi.json')).status, 200, 'which the gateway may ask for first');
    t.equal((await sender(registry.url, 'unsigned')('GET', '/tools')).status, 401, 'without any it is 401');
    t.notMatch(log.join(''), /a request failed/, 'no probe that asks too early is a line of the log');
    t.match(log.join(''), /keys are not to be had/, 'why it waits is one');
    endpoint.answer = answering(old.jwks);
    for (let tries = 0; tries < 100 && (await call('/tools')).status !== 200; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 100));
    t.equal((await call('/tools')).status, 200, 'by itself');
    t.equal((await call('/health')).status, 200);
  },
);

t.test('a place that keys must not come from is refused in a sentence', async (t) => {
  for (const [text, why] of [
    ['', /REGISTRY_JWKS is not set: write the URL.*or off/],
    ['http://gateway.example/jwks.json', /not https and not on this machine/],
    ['http://127.0.0.1.evil.example/', /not https/],
    ['ftp://127.0.0.1/', /not https/],
    ['http://', /not https/],
  ] as const) {
    t.throws(() => parseKeyPlace(text), new StartError(''), text);
    try {
      parseKeyPlace(text);
    } catch (error) {
      t.match((error as Error).message, why);
    }
  }
  for (const text of ['https://gateway.example/jwks.json', 'http://127.0.0.1:9464/x', 'http://[::1]:1/x'])
    t.same(parseKeyPlace(text), { kind: 'url', at: text });
  t.same(parseKeyPlace('/run/jwks.json'), { kind: 'file', at: '/run/jwks.json' });
});

t.test('a file is read at start, and again when a key is not known', async (t) => {
  const path = join(temporaryDirectory(t), 'jwks.json');
  await t.rejects(readableFile(path), { message: /cannot be read \(ENOENT\).*write the URL/ });
  writeFileSync(path, 'x'.repeat(300 * 1024));
  await t.rejects(readableFile(path), { message: /larger than/ });
  writeFileSync(path, old.jwks);
  const { keys } = keysFrom(t, await readableFile(path));
  await keys.refresh();
  writeFileSync(path, next.jwks);
  t.ok(await keys.find('next'));
  rmSync(path);
  await keys.refresh();
  t.ok(await keys.find('next'), 'a file that is gone takes nothing away');
});
