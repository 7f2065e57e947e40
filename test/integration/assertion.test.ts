/** What the service behind the gateway is told under signature, over real sockets, and what an attacker can do with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { principalOf } from '../support/exchange.ts';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { answering, keyEndpoint } from '../support/issuer.ts';
import { pythonWith } from '../support/python.ts';
import { sendRaw } from '../support/raw-client.ts';
import { block } from '../support/readme.ts';
import { startTestRegistry } from '../support/registry.ts';

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
auth:
  tokens: { audience: tools, keys: [] }
rate_limits:
  classes: { public: { rate: 1000/second }, read: { rate: 1000/second }, write: { rate: 1000/second }, admin: { rate: 1000/second } }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { app: { url: "\${REGISTRY_URL}" } }
routes:
  - { path: /hello, upstream: app, permission: any, class: read, assertion: true }
  - { path: /open, upstream: app, permission: none, class: read, assertion: true }
  - { path: /plain, upstream: app, permission: any, class: read }
`;

async function start(t: Test, registryUrl: string, changed = yaml): Promise<TestGateway> {
  const gateway = await startTestGateway({ directory: t.testdir(), registryUrl, yaml: changed });
  t.teardown(() => gateway.close());
  return gateway;
}

/** A gateway before an upstream that keeps every byte. */
async function startRecorded(t: Test) {
  const recorder = await startByteRecorder();
  t.teardown(() => recorder.close());
  const gateway = await start(t, recorder.url);
  const { key } = gateway.first.key;
  const headers = { 'x-api-key': key };
  const assertions = () =>
    [...recorder.bytes().matchAll(/^(x[-_]auth[-_]assertion): (.*)\r$/gim)].map(([, , value = '']) => value);
  return { recorder, gateway, headers, assertions };
}

const claimsOf = (text: string) => JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString());

t.test('the upstream gets one assertion where the route asks, and none elsewhere', async (t) => {
  const { recorder, gateway, headers, assertions } = await startRecorded(t);
  await fetch(`${gateway.trafficUrl}/hello?a=%20b`, { headers });
  t.match(assertions().map(claimsOf), [
    { sub: /^key:/, aud: 'app', method: 'GET', scope: 'create read update' },
  ]);
  recorder.reset();
  await fetch(`${gateway.trafficUrl}/plain`, { headers });
  t.same(assertions(), []);
  await fetch(`${gateway.trafficUrl}/open`, { headers });
  t.match(assertions().map(claimsOf), [{ sub: '', auth_type: 'none' }], 'a public route vouches for nobody');
});

t.test(
  'attack 16: what a client writes as x_auth_assertion, in any spelling, is not forwarded',
  async (t) => {
    const { recorder, gateway, headers, assertions } = await startRecorded(t);
    for (const name of ['X-Auth-Assertion', 'x_auth_assertion', 'X-AUTH_ASSERTION', 'X_Auth-Assertion']) {
      for (const connection of ['close', `close, ${name}`, 'close, x-auth-assertion']) {
        recorder.reset();
        const { status } = await sendRaw(
          gateway.trafficUrl,
          `GET /hello HTTP/1.1\r\nHost: x\r\nX-API-Key: ${headers['x-api-key']}\r\nConnection: ${connection}\r\n` +
            `${name}: forged\r\n${name}: forged\r\n\r\n`,
        );
        t.equal(status, 200);
        t.notMatch(recorder.bytes(), /forged/, `${name}, ${connection}`);
        t.equal(assertions().length, 1);
      }
    }
  },
);

t.test('an assertion is no access token at the gateway, whatever our tokens are signed with', async (t) => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const file = join(t.testdir(), 'token.pem');
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }));
  for (const [keys, reason] of [
    ['keys: []', 'wrong_algorithm'],
    [`keys: [{ file: "${file}" }]`, 'wrong_type'],
  ] as const) {
    await t.test(reason, async (t) => {
      const recorder = await startByteRecorder();
      t.teardown(() => recorder.close());
      const gateway = await start(t, recorder.url, yaml.replace('keys: []', keys));
      await fetch(`${gateway.trafficUrl}/hello`, { headers: { 'x-api-key': gateway.first.key.key } });
      const [, assertion = ''] = /^x-auth-assertion: (.*)\r$/im.exec(recorder.bytes()) ?? [];
      t.ok(assertion);
      const headers = { authorization: `Bearer ${assertion}` };
      t.equal((await fetch(`${gateway.trafficUrl}/hello`, { headers })).status, 401);
      t.match((await gateway.audit()).at(-1), { status_code: 401, reason });
    });
  }
});

t.test(
  'an access token is no assertion at the registry, though its key is published beside the other',
  async (t) => {
    const directory = t.testdir();
    const { privateKey } = generateKeyPairSync('ed25519');
    const file = join(directory, 'token.pem');
    writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const registry = await startTestRegistry(directory);
    t.teardown(() => registry.close());
    const gateway = await startTestGateway({
      directory,
      registry,
      yaml: readFileSync('gateway.yaml', 'utf8').replace(/secrets: \[.*\]/, `keys: [{ file: "${file}" }]`),
    });
    t.teardown(() => gateway.close());
    const token = await logIn(gateway.trafficUrl, 'admin', gateway.first.password);
    const { keys } = (await (await fetch(`${gateway.operationsUrl}/.well-known/jwks.json`)).json()) as {
      keys: unknown[];
    };
    t.equal(keys.length, 2);
    const direct = (headers: Record<string, string>) => fetch(`${registry.url}/tools`, { headers });
    t.equal((await direct({ 'x-auth-assertion': token })).status, 401);
    t.equal((await direct({ authorization: `Bearer ${token}`, 'x-auth-subject': 'user:1' })).status, 401);
    const through = await fetch(`${gateway.trafficUrl}/tools`, {
      headers: { authorization: `Bearer ${token}` },
    });
    t.equal(through.status, 200, 'and through the gateway it passes');
  },
);

t.test('the JWK Set is on the operations port, whatever endpoints the traffic port has', async (t) => {
  const off = `${yaml}endpoints: { identity: false, docs: false, health: false }\n`;
  const gateway = await start(t, 'http://127.0.0.1:9', off);
  const response = await fetch(`${gateway.operationsUrl}/.well-known/jwks.json`);
  t.equal(response.headers.get('content-type'), 'application/json');
  t.match(await response.json(), {
    keys: [{ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig', kid: String }],
  });
  t.equal((await fetch(`${gateway.trafficUrl}/.well-known/jwks.json`)).status, 401);
});

/** Replaces each text, which has to be there. */
function adapted(text: string, changes: Readonly<Record<string, string>>): string {
  let result = text;
  for (const [from, to] of Object.entries(changes)) {
    if (!result.includes(from)) throw new Error(`the example has no ${from}`);
    result = result.replace(from, to);
  }
  return result;
}

async function runService(t: Test, program: string, file: string): Promise<string> {
  const child: ChildProcess = spawn(program, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit').then(() => {
    throw new Error('the example ended');
  });
  const [line] = await Promise.race([once(child.stdout ?? child, 'data'), ended]);
  ended.catch(() => undefined);
  return `http://127.0.0.1:${String(line).trim()}`;
}

/** The example as a service, and a gateway before it: what it answers to whom. */
async function tryExample(
  t: Test,
  file: string,
  example: string,
  program: string,
  changes: Record<string, string>,
) {
  const jwks = await keyEndpoint('');
  t.teardown(() => jwks.close());
  const path = join(t.testdir(), file);
  const text = adapted(example, {
    'http://127.0.0.1:9464/.well-known/jwks.json': jwks.url,
    ...changes,
  });
  writeFileSync(path, text);
  const serviceUrl = await runService(t, program, path);
  const gateway = await start(t, serviceUrl);
  jwks.answer = answering(await (await fetch(`${gateway.operationsUrl}/.well-known/jwks.json`)).text());
  const headers = { 'x-api-key': gateway.first.key.key };
  const through = await fetch(`${gateway.trafficUrl}/hello?q=%20a`, { headers });
  t.equal(through.status, 200);
  t.match(await through.text(), new RegExp(`key:${gateway.first.key.id}.*create read update`));
  const posted = await fetch(`${gateway.trafficUrl}/hello`, { method: 'POST', headers, body: 'x' });
  t.equal(posted.status, 200);
  t.equal((await fetch(`${gateway.trafficUrl}/open`)).status, 403, 'nobody is vouched for');
  t.equal((await fetch(`${serviceUrl}/hello`)).status, 401, 'past the gateway');
  const principal = principalOf({ subject: 'user:1' });
  const made = gateway.identity.assertions.of({
    upstream: 'app',
    method: 'GET',
    target: '/hello',
    principal,
  });
  const direct = async (target: string, assertion: string, method = 'GET') =>
    (await fetch(serviceUrl + target, { method, headers: { 'x-auth-assertion': assertion } })).status;
  t.equal(await direct('/hello', made), 200, 'the control');
  t.equal(await direct('/hello?admin=1', made), 401, 'another target');
  t.equal(await direct('/hello', made, 'POST'), 401, 'another method');
  const others = { upstream: 'other', method: 'GET', target: '/hello', principal };
  t.equal(await direct('/hello', gateway.identity.assertions.of(others)), 401, 'another service’s');
  t.equal(await direct('/hello', 'x.y.z'), 401);
}

t.test('the README’s example in TypeScript does what it says', async (t) => {
  await tryExample(t, 'service.ts', block('example-ts'), process.execPath, {
    "listen(8082, '127.0.0.1')":
      "listen(0, '127.0.0.1', function (this: any) { console.log(this.address().port); })",
  });
});

t.test('the README’s example in Python does what it says', async (t) => {
  const python = pythonWith('jwt', 'cryptography');
  if (python === undefined)
    throw new Error('no Python here has jwt and cryptography: see test/support/all.ts');
  await tryExample(t, 'service.py', block('example-python'), python, {
    'HTTPServer(("127.0.0.1", 8082), Service).serve_forever()':
      'server = HTTPServer(("127.0.0.1", 0), Service)\nprint(server.server_port, flush=True)\nserver.serve_forever()',
  });
});
