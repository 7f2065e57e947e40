/**
 * Projected service-account tokens, with keys from an API server that speaks TLS under the cluster's own authority
 * and answers only to a service account. The issuer is configured as the README shows it.
 */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { keySet, signed, testKey } from '../support/issuer.ts';
import { block } from '../support/readme.ts';
import { startTestRegistry } from '../support/registry.ts';

const key = testKey('RS256', 'kube-1');
const nowSeconds = Math.floor(Date.now() / 1000);

/** As kube-apiserver makes them: no typ, a list as audience, a claim named kubernetes.io. */
const claims = {
  aud: ['tool-registry'],
  exp: nowSeconds + 3_607,
  iat: nowSeconds,
  iss: 'https://kubernetes.default.svc.cluster.local',
  jti: '8f1e2d52-0a8e-4e54-9a5e-2a4a2a3f7d10',
  'kubernetes.io': {
    namespace: 'prod',
    node: { name: 'node-1', uid: '0f2a7c5e-60a5-4f0c-8d7f-6d7d6f2f9b11' },
    pod: { name: 'ci-0', uid: '900f80ed-bafe-49f0-9ae2-c5f0a3ac2cbe' },
    serviceaccount: { name: 'ci', uid: 'a709ef71-30e2-489a-bd19-ade97031b9db' },
  },
  nbf: nowSeconds,
  sub: 'system:serviceaccount:prod:ci',
};
const header = { alg: 'RS256', kid: 'kube-1' };

/** The README's example, with this test's address and files in place of the cluster's. */
function yamlFor(jwksUri: string, directory: string): string {
  const issuers = block('kubernetes-issuer')
    .replace('https://kubernetes.default.svc/openid/v1/jwks', jwksUri)
    .replaceAll('/var/run/secrets/kubernetes.io/serviceaccount', directory);
  return readFileSync('gateway.yaml', 'utf8').replace('  issuers: []\n', () => issuers);
}

/** An authority and a certificate for 127.0.0.1 under it. */
function makeCertificates(directory: string): { key: Buffer; cert: Buffer } {
  const openssl = (command: string) =>
    execFileSync('openssl', command.split(' '), { cwd: directory, stdio: 'pipe' });
  const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2';
  writeFileSync(join(directory, 'san.cnf'), 'subjectAltName=IP:127.0.0.1\n');
  openssl(`req -x509 ${newKey} -subj /CN=kubernetes -keyout ca.key -out ca.crt`);
  openssl(
    'req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kube-apiserver -keyout api.key -out api.csr',
  );
  openssl(
    'x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san.cnf -out api.crt',
  );
  return { key: readFileSync(join(directory, 'api.key')), cert: readFileSync(join(directory, 'api.crt')) };
}

t.test('a projected, audience-bound token is taken; every other is not', async (t) => {
  const directory = t.testdir();
  writeFileSync(join(directory, 'token'), 'the-token-of-the-gateway');
  const apiServer = createServer(makeCertificates(directory), (request, response) => {
    const known = request.headers.authorization === 'Bearer the-token-of-the-gateway';
    response.writeHead(known ? 200 : 401, { 'content-type': 'application/jwk-set+json' });
    response.end(known ? keySet(key) : '{}');
  });
  apiServer.listen(0, '127.0.0.1');
  await once(apiServer, 'listening');
  t.teardown(() => apiServer.close());
  const jwksUri = `https://127.0.0.1:${(apiServer.address() as AddressInfo).port}/openid/v1/jwks`;
  const registry = await startTestRegistry(directory);
  t.teardown(() => registry.close());
  const gateway = await startTestGateway({
    directory,
    registry,
    yaml: yamlFor(jwksUri, directory),
  });
  t.teardown(() => gateway.close());
  const call = (token: string, method = 'GET') =>
    fetch(`${gateway.trafficUrl}/tools`, { method, headers: { authorization: `Bearer ${token}` } });

  t.equal((await call(signed(header, claims, key))).status, 200);
  t.equal((await call(signed(header, claims, key), 'POST')).status, 415, 'ci may create');
  const web = { ...claims, sub: 'system:serviceaccount:prod:web' };
  t.equal((await call(signed(header, web, key), 'POST')).status, 403, 'another account may only read');
  const [record] = (await gateway.audit()).filter(
    ({ path, status_code }) => path === '/tools' && status_code === 200,
  );
  t.match(record, { principal: 'cluster:system:serviceaccount:prod:ci', credential_id: claims.jti });

  for (const aud of [['https://kubernetes.default.svc.cluster.local'], [], undefined]) {
    t.equal((await call(signed(header, { ...claims, aud }, key))).status, 401, `for ${aud}`);
  }
  const legacy = { ...claims, exp: undefined, aud: undefined, iss: 'kubernetes/serviceaccount' };
  t.equal(
    (await call(signed(header, legacy, key))).status,
    401,
    'a legacy token of a Secret, without audience and end',
  );
  t.equal(
    (await call(signed(header, claims, testKey('RS256', 'kube-1')))).status,
    401,
    'another cluster’s key',
  );
});

t.test('without the cluster’s authority its keys are not taken', async (t) => {
  const directory = t.testdir();
  writeFileSync(join(directory, 'token'), 'x');
  const apiServer = createServer(makeCertificates(directory), (_request, response) =>
    response.end(keySet(key)),
  );
  apiServer.listen(0, '127.0.0.1');
  await once(apiServer, 'listening');
  t.teardown(() => apiServer.close());
  const jwksUri = `https://127.0.0.1:${(apiServer.address() as AddressInfo).port}/openid/v1/jwks`;
  const yaml = yamlFor(jwksUri, directory).replace(/.*ca_file.*\n/, '');
  const gateway = await startTestGateway({ directory, yaml });
  t.teardown(() => gateway.close());
  const metrics = await (await fetch(`${gateway.operationsUrl}/metrics`)).text();
  t.match(metrics, /issuer_key_fetches_total\{issuer="cluster",result="unreachable"\} 1/);
  t.match(metrics, /issuer_keys\{issuer="cluster"\} 0/);
});
