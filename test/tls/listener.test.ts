/** The traffic port over TLS: versions, ALPN, plain text, time, and what is told upstream. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/raw-client.ts';
import { call, shakeHands, startTlsGateway } from '../support/tls-gateway.ts';

const upstream = await startByteRecorder();
const gateway = await startTlsGateway({
  directory: t.testdir(),
  registryUrl: upstream.url,
  tls: 'handshake_timeout: 300ms',
});
t.teardown(async () => {
  await gateway.close();
  await upstream.close();
});
const headers = { 'x-api-key': gateway.first.key.key };
const metrics = async () => (await fetch(`${gateway.operationsUrl}/metrics`)).text();

t.test('a request over TLS is answered, and its service is told https', async (t) => {
  upstream.reset();
  const { status, socket } = await call(gateway, '/tools', { headers });
  t.equal(status, 200);
  t.match(upstream.bytes(), /\r\nX-Forwarded-Proto: https\r\n/);
  t.equal(socket.getProtocol(), 'TLSv1.3');
  t.match(gateway.trafficUrl, /^https:/);
});

t.test('TLS 1.2 passes with forward secrecy, TLS 1.1 and a cipher without it are refused', async (t) => {
  const older = await shakeHands(gateway, { maxVersion: 'TLSv1.2' });
  t.match(older.getCipher().name, /^ECDHE-/);
  older.destroy();
  const { port, authority } = gateway;
  const tooOld = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  await t.rejects(shakeHands({ ...gateway, port, authority }, tooOld), { code: /PROTOCOL_VERSION/ });
  const withoutSecrecy = { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' } as const;
  await t.rejects(shakeHands(gateway, withoutSecrecy), { code: /HANDSHAKE_FAILURE/ });
});

t.test('ALPN is http/1.1, and who speaks only h2 is told so by TLS', async (t) => {
  const both = await shakeHands(gateway, { ALPNProtocols: ['h2', 'http/1.1'] });
  t.equal(both.alpnProtocol, 'http/1.1');
  both.destroy();
  await t.rejects(shakeHands(gateway, { ALPNProtocols: ['h2'] }), { code: /NO_APPLICATION_PROTOCOL/ });
});

t.test('plain HTTP on the TLS port is told so in plain text, and is on record', async (t) => {
  upstream.reset();
  const plainUrl = gateway.trafficUrl.replace('https:', 'http:');
  const answer = await sendRaw(
    plainUrl,
    `GET /tools HTTP/1.1\r\nHost: a\r\nX-API-Key: ${headers['x-api-key']}\r\n\r\n`,
  );
  t.equal(answer.status, 400);
  t.match(JSON.parse(answer.body), { code: 'http_on_tls_port', detail: /https/ });
  t.equal(answer.closed, true);
  t.same(answer.headers.get('connection'), ['close']);
  t.equal(upstream.bytes(), '', 'nothing was forwarded');
  const record = (await gateway.audit()).find(({ code }) => code === 'http_on_tls_port');
  t.match(record, { status_code: 400, decision: 'deny', client_ip: '127.0.0.1' });
  t.match(await metrics(), /tls_handshake_failures_total\{fault="plain_text"\} 1\n/);
});

t.test('who connects and says nothing is cut off when the handshake takes too long', async (t) => {
  const socket = connect(gateway.port, '127.0.0.1');
  await once(socket, 'connect');
  await once(socket, 'close');
  t.match(await metrics(), /tls_handshake_failures_total\{fault="timeout"\} [1-9]/);
  t.equal((await call(gateway, '/health')).status, 200, 'others are served');
});

t.test('a handshake that breaks in the middle harms nobody', async (t) => {
  const before = (await gateway.audit()).length;
  for (const bytes of [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    '\x16\x03\x01\x00\x05hello',
    '\x80\x2e\x01',
  ]) {
    await sendRaw(gateway.trafficUrl, bytes);
  }
  const socket = connect(gateway.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.resetAndDestroy();
  await sleep(50);
  t.equal((await call(gateway, '/tools', { headers })).status, 200);
  t.equal((await gateway.audit()).length, before + 1, 'no HTTP, no record of a request');
});

t.test('TLS on a plain port is cut off and on record', async (t) => {
  const plain = await startTestGateway({ directory: t.testdir() });
  t.teardown(() => plain.close());
  const port = Number(new URL(plain.trafficUrl).port);
  await t.rejects(shakeHands({ ...gateway, port }), { code: /ECONNRESET|WRONG_VERSION|EPROTO/ });
  const records = await plain.audit();
  t.match(records, [{ code: 'tls_on_http_port', status_code: 400, client_ip: '127.0.0.1' }]);
});

t.test('when the certificate ends is a metric', async (t) => {
  const seconds = Number(
    /^portcullis_tls_certificate_expiry_timestamp_seconds (\S+)$/m.exec(await metrics())?.[1],
  );
  const days = (seconds - Date.now() / 1000) / 86_400;
  t.ok(days > 28 && days < 31, `${days} days`);
  t.match(await metrics(), /tls_certificate_last_reload_successful 1\n/);
});

t.test('connections over TLS are counted, given back, and turned away with an answer', async (t) => {
  const narrow = await startTlsGateway({
    directory: t.testdir(),
    listen: 'limits: { connections_per_address: 2 },',
  });
  t.teardown(() => narrow.close());
  const open = async () => {
    const text = await (await fetch(`${narrow.operationsUrl}/metrics`)).text();
    return Number(/^portcullis_connections (\d+)$/m.exec(text)?.[1]);
  };
  const held = [await shakeHands(narrow), await shakeHands(narrow)];
  t.equal(await open(), 2);
  t.equal((await call(narrow, '/health')).status, 503, 'one too many');
  for (const socket of held) socket.destroy();
  for (let tries = 0; (await open()) > 0 && tries < 100; tries += 1) await sleep(20);
  t.equal(await open(), 0);
  for (let count = 0; count < 5; count += 1) t.equal((await call(narrow, '/health')).status, 200);
});
