/** Certificates of clients: who gets a connection, and whom they stand for. */

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { Agent } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { websocketProofMs } from '../../src/limits.ts';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { makeAuthority } from '../support/certificates.ts';
import { call, startTlsGateway, type TlsGatewayOptions } from '../support/tls-gateway.ts';

const upstream = await startByteRecorder();
t.teardown(() => upstream.close());

const directory = t.testdir({
  ours: {},
  theirs: {},
  required: {},
  optional: {},
  changing: {},
  silent: {},
  websocket: {},
  disbelieved: {},
});
const ours = makeAuthority(join(directory, 'ours'));
const theirs = makeAuthority(join(directory, 'theirs'));
const ci = 'spiffe://example.org/ns/prod/sa/ci';
const certificates = `{ name: mesh, permissions: { grant: [read], names: { "${ci}": [create, update], "admin.example.org": admin } } }`;

const start = async (name: string, options: Partial<TlsGatewayOptions> = {}) => {
  const gateway = await startTlsGateway({
    directory: join(directory, name),
    registryUrl: upstream.url,
    clientCa: ours,
    certificates,
    ...options,
  });
  t.teardown(() => gateway.close());
  return gateway;
};

const required = await start('required');
const optional = await start('optional', { tls: 'client_certificates: optional' });
const workload = ours.sign(`URI:${ci}`, { usage: 'clientAuth' });

t.test('without a certificate of the right authority there is no request, and it is said why', async (t) => {
  const refused = [
    ['none at all', {}, 'missing'],
    ['of another authority', theirs.sign(`URI:${ci}`), 'untrusted_certificate'],
    ['expired', ours.sign(`URI:${ci}`, { days: -1 }), 'expired'],
    ['for servers only', ours.sign(`URI:${ci}`, { usage: 'serverAuth' }), 'untrusted_certificate'],
  ] as const;
  upstream.reset();
  const headers = { 'x-api-key': required.first.key.key };
  for (const [what, pair, reason] of refused) {
    const { status, body } = await call(required, '/tools', { ...pair, headers });
    t.equal(status, 403, what);
    t.equal(JSON.parse(body).code, 'certificate_refused', what);
    const record = (await required.audit()).at(-1);
    t.match(record, { code: 'certificate_refused', reason, decision: 'deny', client_ip: '127.0.0.1' }, what);
  }
  t.equal(upstream.bytes(), '', 'nothing was forwarded');
  t.equal((await call(required, '/tools', { ...workload, headers })).status, 200, 'the control');
});

t.test('a SPIFFE ID is a subject, with the permissions that are written for it', async (t) => {
  upstream.reset();
  const got = await call(required, '/tools', workload);
  t.equal(got.status, 200);
  t.match(upstream.bytes(), `\r\nX-Auth-Subject: mesh:${encodeURIComponent(ci)}\r\n`);
  t.match(upstream.bytes(), /\r\nX-Auth-Type: Certificate\r\n/);
  t.match(upstream.bytes(), /\r\nX-Auth-Permissions: read,create,update\r\n/);
  const record = (await required.audit()).at(-1);
  t.match(record, { principal: `mesh:${ci}`, auth_type: 'Certificate', credential_id: /^[0-9a-f]{64}$/ });
  t.equal((await call(required, '/tools/x', { ...workload, method: 'DELETE' })).status, 403, 'not written');
});

t.test('a DNS name is a subject where there is no URI; every name of a certificate counts', async (t) => {
  upstream.reset();
  const admin = ours.sign('DNS:Console.example.org,DNS:admin.example.org');
  t.equal((await call(required, '/tools/x', { ...admin, method: 'DELETE' })).status, 200);
  t.match(upstream.bytes(), /\r\nX-Auth-Subject: mesh:console\.example\.org\r\n/);
  upstream.reset();
  t.equal(
    (await call(required, '/tools', ours.sign('DNS:other.example.org'))).status,
    200,
    'read is for all',
  );
  t.match(upstream.bytes(), /\r\nX-Auth-Permissions: read\r\n/);
});

t.test('a certificate without a name that can be a subject is nobody', async (t) => {
  const nobody = [
    ['an address alone', ours.sign('IP:192.0.2.1')],
    ['two URIs', ours.sign(`URI:${ci},URI:spiffe://example.org/other`)],
    ['a wildcard', ours.sign('DNS:*.example.org')],
    ['no name', ours.sign('')],
  ] as const;
  for (const [what, pair] of nobody) {
    const { status } = await call(required, '/tools', pair);
    t.equal(status, 401, what);
    t.match((await required.audit()).at(-1), { reason: 'malformed', principal: null }, what);
  }
});

t.test('a credential in the head decides alone, good or bad', async (t) => {
  upstream.reset();
  const headers = { 'x-api-key': required.first.key.key };
  t.equal((await call(required, '/tools', { ...workload, headers })).status, 200);
  t.match(upstream.bytes(), `\r\nX-Auth-Subject: key:${required.first.key.id}\r\n`);
  upstream.reset();
  const bad = await call(required, '/tools', { ...workload, headers: { authorization: 'Bearer nonsense' } });
  t.equal(bad.status, 401, 'the certificate does not make it good');
  t.equal(upstream.bytes(), '');
});

t.test('on a public route a certificate is nobody', async (t) => {
  t.equal((await call(required, '/health', workload)).status, 200);
  t.match((await required.audit()).at(-1), { path: '/health', principal: null, auth_type: 'none' });
});

t.test('optional: without one other credentials go on; a bad one is refused', async (t) => {
  const headers = { 'x-api-key': optional.first.key.key };
  t.equal((await call(optional, '/tools', { headers })).status, 200, 'a key');
  t.equal((await call(optional, '/tools')).status, 401, 'nothing');
  t.match((await optional.audit()).at(-1), { reason: 'missing' });
  t.equal((await call(optional, '/tools', workload)).status, 200, 'a certificate');
  t.equal(
    (await call(optional, '/tools', { ...theirs.sign(`URI:${ci}`), headers })).status,
    403,
    'a bad one',
  );
});

t.test('without auth.certificates a certificate only opens the door', async (t) => {
  const gateway = await start('silent', { certificates: undefined });
  t.equal((await call(gateway, '/tools', workload)).status, 401);
  const headers = { 'x-api-key': gateway.first.key.key };
  t.equal((await call(gateway, '/tools', { ...workload, headers })).status, 200);
});

t.test('once its authority is no longer believed, a connection ends with its next answer', async (t) => {
  const gateway = await start('changing');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  const get = async () => (await call(gateway, '/tools', { ...workload, agent })).headers.connection;
  t.equal(await get(), 'keep-alive');
  writeFileSync(gateway.files.clientCa, theirs.ca);
  let connection = await get();
  for (let tries = 0; connection === 'keep-alive' && tries < 400; tries += 1) {
    await sleep(50);
    connection = await get().catch(() => 'gone');
  }
  t.equal(connection, 'close', 'told so');
  t.equal((await call(gateway, '/tools', workload)).status, 403, 'and no new one');
  t.equal((await call(gateway, '/tools', theirs.sign(`URI:${ci}`))).status, 200, 'the new authority is');
});

/** A gateway in front of a WebSocket that says what it is told, and a client that has only its certificate. */
async function connected(t: Test, name: string) {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  const registryUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const gateway = await start(name, { registryUrl });
  const open = gateway.yaml.replace(/(path: \/tools\/\*, .*) \}/, '$1, websocket: true }');
  await gateway.reload(gateway.load(open));
  const url = `${gateway.trafficUrl.replace('http', 'ws')}/tools/x`;
  const client = new WebSocket(url, { ...workload, ca: gateway.authority.ca });
  await once(client, 'open');
  return { gateway, open, client };
}

t.test(
  'a WebSocket of a certificate stays open, and for as long as the certificate is somebody',
  async (t) => {
    const { gateway, open, client } = await connected(t, 'websocket');
    await sleep(2 * websocketProofMs + 500);
    client.send('still here');
    const [echoed] = await once(client, 'message');
    t.equal(String(echoed), 'still here', 'it was proven again');
    const closed = once(client, 'close');
    await gateway.reload(gateway.load(open.replace(/^ {2}certificates: .*$/m, '')));
    await closed;
    const record = (await gateway.audit()).at(-1);
    t.match(record, { stage: 'complete', code: 'credential_missing', auth_type: 'Certificate' });
  },
);

t.test('a WebSocket of a certificate ends when its authority is no longer believed', async (t) => {
  const { gateway, open, client } = await connected(t, 'disbelieved');
  const closed = once(client, 'close');
  const other = join(directory, 'disbelieved', 'other-ca.crt');
  writeFileSync(other, theirs.ca);
  await gateway.reload(
    gateway.load(open.replace(`client_ca: ${gateway.files.clientCa}`, `client_ca: ${other}`)),
  );
  await closed;
  const record = (await gateway.audit()).at(-1);
  t.match(record, { stage: 'complete', code: 'invalid_credential', reason: 'untrusted_certificate' });
});
