/** A gateway without users and keys: the tokens of one issuer pass, and nothing else does. */

import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { generateApiKey } from '../../src/credentials/api-key.ts';
import { keySet, signed, testKey } from '../support/issuer.ts';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { until } from '../support/redis.ts';

t.test('database: none', async (t) => {
  const directory = t.testdir();
  const upstream = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  t.teardown(() => {
    upstream.closeAllConnections();
    upstream.close();
  });
  const key = testKey('ES256');
  const file = join(directory, 'keys.json');
  writeFileSync(file, keySet(key));
  const config = join(directory, 'gateway.yaml');
  writeFileSync(
    config,
    `version: 1
listen: { port: 0 }
operations: { port: 0 }
database: none
auth:
  issuers:
    - { name: corp, issuer: "https://corp.example", audience: a, jwks_file: ${file}, permissions: { grant: [read] } }
rate_limits: { classes: { public: { rate: 1000/second }, read: { rate: 1000/second } } }
audit: { sinks: [{ type: file, path: ${join(directory, 'audit.log')} }] }
upstreams: { app: { url: "http://127.0.0.1:${(upstream.address() as AddressInfo).port}" } }
routes: [{ path: /tools, upstream: app, permission: read, class: read }]
endpoints: { identity: false, docs: false }
`,
  );
  const env = { ...programEnv(directory), LOG_LEVEL: 'info' };
  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop('SIGKILL'));
  await until(() => /is listening/.test(program.stderr()) || program.child.exitCode !== null);
  const [, url] = /"traffic":"([^"]+)"/.exec(program.stderr()) ?? [];
  const [, operations] = /"operations":"([^"]+)"/.exec(program.stderr()) ?? [];
  if (url === undefined) throw new Error(`it did not start: ${program.stderr()}`);
  const statusOf = async (credential: string, path = '/tools') =>
    (await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${credential}` } })).status;
  const nowSeconds = Math.floor(Date.now() / 1000);
  const claims = { iss: 'https://corp.example', aud: 'a', sub: 'alice', exp: nowSeconds + 600 };
  const token = signed({ alg: 'ES256', kid: key.kid }, claims, key);
  for (let round = 0; round < 3; round += 1) t.equal(await statusOf(token), 200);
  t.equal(await statusOf(generateApiKey('mcp_').text), 401, 'an API key');
  t.equal(await statusOf(signed({ alg: 'ES256', kid: key.kid }, { ...claims, iss: 'portcullis' }, key)), 401);
  t.equal(await statusOf(token, '/auth/me'), 404, 'there is no such endpoint');
  t.match(await (await fetch(`${operations}/metrics`)).text(), /credential_cache_total\{result="hit"\} 3/);
  t.notOk(existsSync(join(directory, 'data')), 'nothing was made');

  const second = startProgram(['start', '--config', config], { ...env, AUDIT_LOG_FILE: '' });
  t.teardown(() => second.stop('SIGKILL'));
  await until(() => /is listening/.test(second.stderr()) || second.child.exitCode !== null);
  t.match(second.stderr(), /is listening/, 'as many as are wanted');
  for (const command of [['setup'], ['key', 'list'], ['quickstart']]) {
    const { exitCode, stderr } = await runProgram([...command, '--config', config], env);
    t.equal(exitCode, 1, command.join(' '));
    t.match(stderr, /database/);
  }
  t.equal((await program.stop()).exitCode, 0);
});
