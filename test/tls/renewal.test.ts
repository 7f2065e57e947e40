/** Certificates change while connections are open: new ones get the new certificate, and nothing is lost. */

import { mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { startByteRecorder } from '../support/byte-recorder.ts';
import type { Signed } from '../support/certificates.ts';
import {
  call,
  serverNames,
  shakeHands,
  startTlsGateway,
  type TlsGateway,
  writePair,
} from '../support/tls-gateway.ts';

const upstream = await startByteRecorder();
t.teardown(() => upstream.close());

const metrics = async (gateway: TlsGateway) => (await fetch(`${gateway.operationsUrl}/metrics`)).text();

/** What a new connection is shown. */
async function serial(gateway: TlsGateway): Promise<string> {
  const socket = await shakeHands(gateway);
  const { serialNumber } = socket.getPeerX509Certificate() ?? { serialNumber: '' };
  socket.destroy();
  return serialNumber;
}

/** Well above the time a change takes to be seen (0.4 s), also where only the poll sees it (10 s). */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await done()); tries += 1) {
    if (tries > 400) throw new Error('it was never seen');
    await sleep(50);
  }
}

t.test('a renewal under load drops no connection and fails no request', async (t) => {
  const gateway = await startTlsGateway({
    directory: t.testdir(),
    registryUrl: upstream.url,
    env: { REQUESTS_PER_MINUTE: '100000' },
  });
  t.teardown(() => gateway.close());
  const headers = { 'x-api-key': gateway.first.key.key };
  const agents = Array.from({ length: 4 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
  t.teardown(() => {
    for (const agent of agents) agent.destroy();
  });
  const ports = agents.map(() => new Set<number | undefined>());
  let stop = false;
  let count = 0;
  const load = agents.map(async (agent, index) => {
    while (!stop) {
      const { status, socket } = await call(gateway, '/tools', { headers, agent });
      if (status !== 200) throw new Error(`${status}`);
      ports[index]?.add(socket.localPort);
      count += 1;
      await sleep(5);
    }
  });
  for (let renewal = 0; renewal < 3; renewal += 1) {
    const before = await serial(gateway);
    writePair(gateway.files, gateway.authority.sign(serverNames));
    await until(async () => (await serial(gateway)) !== before);
  }
  stop = true;
  await Promise.all(load);
  t.ok(count > 20, `${count} requests`);
  for (const used of ports) t.equal(used.size, 1, 'one connection from the first request to the last');
});

t.test('a renewal as a mounted Secret does it is taken', async (t) => {
  const directory = t.testdir();
  // kubelet: the files are links through ..data, which is swapped by a rename.
  const version = (name: string, { cert, key }: Signed) => {
    mkdirSync(join(directory, name));
    writePair(
      { cert: join(directory, name, 'tls.crt'), key: join(directory, name, 'tls.key') },
      { cert, key },
    );
    symlinkSync(name, join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
  };
  const place = (_files: unknown, signed: Signed) => {
    version('..1', signed);
    for (const file of ['tls.crt', 'tls.key']) symlinkSync(join('..data', file), join(directory, file));
  };
  const gateway = await startTlsGateway({ directory, place });
  t.teardown(() => gateway.close());
  const before = await serial(gateway);
  version('..2', gateway.authority.sign(serverNames));
  await until(async () => (await serial(gateway)) !== before);
  t.pass('seen');
});

t.test('files that cannot be used change nothing, and it is said until they can', async (t) => {
  const gateway = await startTlsGateway({ directory: t.testdir() });
  t.teardown(() => gateway.close());
  const { files, authority } = gateway;
  const first = await serial(gateway);
  const isOk = async (ok: 0 | 1) =>
    new RegExp(`^portcullis_tls_certificate_last_reload_successful ${ok}$`, 'm').test(await metrics(gateway));
  const [old, next, expired] = [
    { cert: readFileSync(files.cert, 'utf8'), key: readFileSync(files.key, 'utf8') },
    authority.sign(serverNames),
    authority.sign(serverNames, { days: -1 }),
  ];
  const bad: ReadonlyArray<readonly [string, Signed]> = [
    ['a certificate with the key of another', { cert: next.cert, key: old.key }],
    ['half a certificate', { cert: next.cert.slice(0, 200), key: next.key }],
    ['an expired one', expired],
    ['no key at all', { cert: next.cert, key: '' }],
  ];
  for (const [what, pair] of bad) {
    writePair(files, pair);
    await until(() => isOk(0));
    t.equal(await serial(gateway), first, what);
    writePair(files, old);
    await until(() => isOk(1));
  }
  unlinkSync(files.key);
  await until(() => isOk(0));
  writePair(files, next);
  await until(() => isOk(1));
  t.not(await serial(gateway), first, 'a good one is taken at last');
});
