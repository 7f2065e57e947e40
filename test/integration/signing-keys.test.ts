/** A whole gateway whose tokens are signed with a key file: published, verifiable by anyone, rotated under load. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLocalJWKSet, createRemoteJWKSet, jwtVerify } from 'jose';
import t from 'tap';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { hmacSigned, publicForms, type TestKey, testKey } from '../support/issuer.ts';
import { startTestRegistry } from '../support/registry.ts';

const pemOf = ({ privateKey }: TestKey) => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const publicPemOf = ({ publicKey }: TestKey) => publicKey.export({ type: 'spki', format: 'pem' }).toString();

type Tap = Pick<typeof t, 'teardown' | 'testdir'>;

async function start(
  t: Tap,
  first: string,
  second: string,
): Promise<{ gateway: TestGateway; directory: string }> {
  const directory = t.testdir({ 'first.pem': first, 'second.pem': second });
  const registry = await startTestRegistry(directory);
  t.teardown(() => registry.close());
  const files = ['first.pem', 'second.pem'].map((name) => `{ file: "${join(directory, name)}" }`);
  const yaml = readFileSync('gateway.yaml', 'utf8')
    .replace(/ {4}secrets: .*\n/, `    keys: [${files.join(', ')}]\n`)
    .replaceAll(/rate: [^}]*\/minute"? }/g, 'rate: 100000/minute }');
  const env = { REQUESTS_PER_MINUTE: '1000000' };
  const gateway = await startTestGateway({ directory, registry, yaml, env });
  t.teardown(() => gateway.close());
  return { gateway, directory };
}

const tokenOf = ({ trafficUrl, first }: TestGateway) =>
  logIn(trafficUrl, first.admin.username, first.password);
const status = async ({ trafficUrl }: TestGateway, token: string) =>
  (await fetch(`${trafficUrl}/tools`, { headers: { authorization: `Bearer ${token}` } })).status;
const kidOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid;
const publishedBy = async ({ trafficUrl }: TestGateway) =>
  (await (await fetch(`${trafficUrl}/.well-known/jwks.json`)).json()) as {
    keys: Array<Record<string, string>>;
  };

t.test('anyone can verify our tokens with the published set, which holds nothing private', async (t) => {
  const { gateway } = await start(t, pemOf(testKey('EdDSA')), pemOf(testKey('RS256')));
  const token = await tokenOf(gateway);
  t.equal(await status(gateway, token), 200);
  const published = await publishedBy(gateway);
  t.same(
    published.keys.map(({ alg, use }) => `${alg} ${use}`),
    ['EdDSA sig', 'RS256 sig', 'EdDSA sig'],
    'the last one is for assertions',
  );
  t.notMatch(JSON.stringify(published), /"(?:d|p|q|dp|dq|qi|k)":/);
  const remote = createRemoteJWKSet(new URL(`${gateway.trafficUrl}/.well-known/jwks.json`));
  const { payload } = await jwtVerify(token, remote, {
    issuer: 'portcullis',
    audience: 'tool-registry',
    typ: 'at+jwt',
  });
  t.match(payload.sub, /^user:/);
  t.equal(kidOf(token), published.keys[0]?.kid);
});

t.test(
  'attack 22 at the door: HS256 under the published key, in any form, is 401 and nothing forwarded',
  async (t) => {
    const key = testKey('RS256');
    const { gateway } = await start(t, pemOf(key), publicPemOf(testKey('ES256')));
    const token = await tokenOf(gateway);
    const [head = '', body = ''] = token.split('.').map((text) => Buffer.from(text, 'base64url').toString());
    const { keys } = await publishedBy(gateway);
    const forms = [...publicForms(key), JSON.stringify(keys[0]), JSON.stringify({ keys })];
    for (const secret of forms.slice(0, 20)) {
      t.equal(await status(gateway, hmacSigned({ ...JSON.parse(head), alg: 'HS256' }, body, secret)), 401);
      t.equal(await status(gateway, hmacSigned(head, body, secret)), 401);
    }
    t.equal(
      await status(gateway, token),
      200,
      'the control: its address ran out of failures, the known token did not',
    );
  },
);

t.test('a rotation under load refuses no token and ends no session', async (t) => {
  const [older, newer] = [testKey('ES256'), testKey('EdDSA')];
  const { gateway, directory } = await start(t, pemOf(older), publicPemOf(newer));
  const before = await tokenOf(gateway);
  const refused: number[] = [];
  let running = true;
  const load = (async () => {
    while (running) {
      const answered = await status(gateway, before);
      if (answered !== 200) refused.push(answered);
    }
  })();
  // Both files at once, as far as files go: each by a rename, within the time that is waited for the rest.
  for (const [name, text] of Object.entries({
    'second.pem': publicPemOf(older),
    'first.pem': pemOf(newer),
  })) {
    writeFileSync(join(directory, `${name}.new`), text);
    renameSync(join(directory, `${name}.new`), join(directory, name));
  }
  let after = before;
  for (let tries = 0; tries < 100 && kidOf(after) === kidOf(before); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    after = await tokenOf(gateway);
  }
  t.not(kidOf(after), kidOf(before), 'the new key signs');
  t.equal(await status(gateway, after), 200);
  t.equal(await status(gateway, before), 200);
  running = false;
  await load;
  t.same(refused, []);
  const { keys } = await publishedBy(gateway);
  t.same(
    keys.map(({ alg }) => alg),
    ['EdDSA', 'ES256', 'EdDSA'],
    'the last one is for assertions',
  );
  await jwtVerify(before, createLocalJWKSet({ keys } as never), { typ: 'at+jwt' });
});

t.test('a key file that breaks is told by a metric, and the old key goes on', async (t) => {
  const { gateway, directory } = await start(t, pemOf(testKey('EdDSA')), pemOf(testKey('ES256')));
  const token = await tokenOf(gateway);
  const reload = async () => {
    const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
    return /portcullis_token_keys_last_reload_successful (\d)/.exec(metrics)?.[1];
  };
  t.equal(await reload(), '1');
  writeFileSync(join(directory, 'first.pem'), 'rubbish');
  for (let tries = 0; tries < 200 && (await reload()) === '1'; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.equal(await reload(), '0');
  t.equal(await status(gateway, token), 200);
  t.equal(await status(gateway, await tokenOf(gateway)), 200, 'and still signs');
});

t.test('with a secret, only the key of the assertions is published', async (t) => {
  const gateway = await startTestGateway({ directory: t.testdir() });
  t.teardown(() => gateway.close());
  const { keys } = await publishedBy(gateway);
  t.match(keys, [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig' }]);
  t.equal(keys.length, 1);
  t.notMatch(JSON.stringify(keys), /"(?:d|p|q|dp|dq|qi|k)":/);
});
