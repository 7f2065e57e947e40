/** An error nobody foresaw: one request's 500, or, where the state is in doubt, the end of the process with its log written. */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { Recorder } from '../../src/audit/recorder.ts';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import { systemClock } from '../../src/clock.ts';
import { createDownstream } from '../../src/downstream.ts';
import type { Gateway } from '../../src/gateway.ts';
import { Generations } from '../../src/generations.ts';
import { Cors } from '../../src/http/cors.ts';
import { RouteTable } from '../../src/http/route-table.ts';
import { SecurityHeaders } from '../../src/http/security-headers.ts';
import { openLog } from '../../src/telemetry/log.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { signingKey } from '../support/audit.ts';
import { readClass, routeOf } from '../support/exchange.ts';
import { programEnv, startProgram } from '../support/program.ts';
import { sendRaw } from '../support/raw-client.ts';

class Fault extends Error {}
const fail = (): never => {
  throw new Fault('an injected fault');
};

/** A server whose gateway is whole but for what `broken` makes of it. */
async function serve(t: Test, broken: (whole: Gateway, audit: AuditLog) => Gateway) {
  const path = join(t.testdir(), 'audit.log');
  const sink = await FileSink.open({ path, fsync: false, onUp: () => undefined });
  const context = { replica: 'test', configDigest: 'test', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, clock: systemClock, key: signingKey });
  const metrics = new Metrics({ version: '0', nodeVersion: '0' });
  const log = openLog('silent');
  const table = new RouteTable();
  table.add(
    '/',
    ['GET'],
    routeOf({ permission: 'none', destination: { kind: 'refusal', code: 'conflict' } }),
  );
  const whole = {
    routing: {
      table,
      preflight: routeOf(),
      refusalClass: readClass,
      limits: { headersMax: 100, targetBytesMax: 1_000 },
    },
    // A public route asks nobody.
    authentication: {},
    buckets: new MemoryBuckets(systemClock),
    policy: {
      security: new SecurityHeaders(),
      cors: new Cors([]),
      clock: systemClock,
      stallMs: 1_000,
      isDraining: () => false,
    },
    recorder: new Recorder({ audit, metrics, clock: systemClock, log, unrecordedReads: 'refuse' }),
    trust: () => false,
  } as unknown as Gateway;
  const server: Server = createDownstream(
    new Generations({ gateway: broken(whole, audit), close: async () => {} }, () => {}),
    {
      timeouts: { headersMs: 5_000, requestMs: 5_000, idleMs: 5_000 },
      limits: {
        headerBytesMax: 16_384,
        connectionsMax: 100,
        connectionsPerAddressMax: 100,
        pipelinedMax: 16,
        minRate: 0,
        stallMs: 1_000,
      },
      reports: metrics,
      tls: undefined,
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.closeAllConnections();
    server.close();
    await audit.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const records = async () => {
    let lines: string[] = [];
    // Until nothing more has come.
    for (let before = -1; before < lines.length || lines.length === 0; ) {
      before = lines.length;
      await new Promise((resolve) => setTimeout(resolve, 100));
      await audit.flush();
      lines = readFileSync(path, 'utf8').split('\n').filter(Boolean);
    }
    // After a second there is a checkpoint as well.
    return lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ stage }) => stage !== 'checkpoint');
  };
  return { url, records };
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

t.test('control: a gateway that is whole answers and records', async (t) => {
  const { url, records } = await serve(t, (whole) => whole);
  t.equal((await sendRaw(url, get('/'))).status, 409);
  t.match(await records(), [{ code: 'conflict' }]);
});

let faults = 0;
/** Fails the first time, and then does what it should. */
const failingOnce =
  <Args extends unknown[], Result>(real: (...args: Args) => Result) =>
  (...args: Args): Result => {
    faults += 1;
    return faults === 1 ? fail() : real(...args);
  };

for (const [where, broken] of [
  [
    'in a phase',
    (whole: Gateway) => {
      const { table } = whole.routing;
      table.find = failingOnce(table.find.bind(table));
      return whole;
    },
  ],
  ['before the phases', (whole: Gateway) => ({ ...whole, trust: throwingOn(2, whole.trust) })],
  [
    'in the record of its end',
    (whole: Gateway, audit: AuditLog) => {
      audit.append = failingOnce(audit.append.bind(audit));
      return whole;
    },
  ],
] as const)
  t.test(`a fault ${where} is that request's 500, on record, and the next one is served`, async (t) => {
    faults = 0;
    const { url, records } = await serve(t, broken);
    const first = await sendRaw(url, get('/'));
    if (where !== 'in the record of its end') {
      t.equal(first.status, 500);
      t.match(first.body, /"code":"internal_error"/);
      t.notMatch(first.body, /injected/, 'nothing of the inside shows');
      t.strictSame(first.headers.get('x-frame-options'), ['DENY']);
    }
    t.equal((await sendRaw(url, get('/'))).status, 409);
    const codes = (await records()).map(({ code }) => code);
    t.strictSame(codes, ['internal_error', 'conflict']);
  });

/** Throws at its n-th call: the first is made for the connection. */
function throwingOn<Args extends unknown[], Result>(n: number, real: (...args: Args) => Result) {
  let calls = 0;
  return (...args: Args): Result => {
    calls += 1;
    return calls === n ? fail() : real(...args);
  };
}

t.test('a fault in the answer to a fault cuts that connection, and the next one is served', async (t) => {
  faults = 0;
  const { url, records } = await serve(t, (whole) => {
    const { security } = whole.policy;
    security.flat = failingOnce(security.flat.bind(security));
    return whole;
  });
  const first = await sendRaw(url, get('/'));
  t.equal(first.text, '');
  t.ok(first.closed);
  t.equal((await sendRaw(url, get('/'))).status, 409);
  t.strictSame(
    (await records()).map(({ code }) => code),
    ['internal_error', 'conflict'],
  );
});

t.test('a fault in what is told of a parser’s error or a CONNECT is contained as well', async (t) => {
  for (const request of ['RUBBISH\r\n\r\n', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n']) {
    faults = 0;
    const { url, records } = await serve(t, (whole) => {
      whole.recorder.refusedByParser = failingOnce(whole.recorder.refusedByParser.bind(whole.recorder));
      return whole;
    });
    t.ok((await sendRaw(url, request)).closed, request);
    t.equal((await sendRaw(url, get('/'))).status, 409);
    t.strictSame(
      (await records()).map(({ code }) => code),
      ['internal_error', 'conflict'],
    );
  }
});

for (const [where, behind] of [
  ['one request too many', get('/').repeat(16)],
  ['rubbish', 'RUBBISH\r\n\r\n'],
  ['a broken body', 'GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
] as const)
  t.test(`a fault in what is told of ${where} behind a request is contained as well`, async (t) => {
    faults = 0;
    const { url, records } = await serve(t, (whole) => {
      whole.recorder.refusedByParser = failingOnce(whole.recorder.refusedByParser.bind(whole.recorder));
      return whole;
    });
    t.ok((await sendRaw(url, get('/') + behind)).closed);
    t.equal((await sendRaw(url, get('/'))).status, 409);
    const codes = (await records()).map(({ code }) => code);
    t.equal(codes.filter((code) => code === 'internal_error').length, 1);
    t.equal(codes.at(-1), 'conflict');
  });

for (const [what, injected] of [
  ['an exception that no request owns', "throw new Error('an injected fault')"],
  ['a rejection that nobody handles', "Promise.reject(new Error('an injected fault'))"],
] as const)
  t.test(`${what} ends the program with 70, its reason, and its log written`, async (t) => {
    const directory = t.testdir();
    const preload = join(directory, 'fault.mjs');
    writeFileSync(preload, `process.on('SIGUSR2', () => { ${injected}; });`);
    const program = startProgram(['start'], {
      ...programEnv(directory),
      LOG_LEVEL: 'info',
      NODE_OPTIONS: `--import=${preload}`,
    });
    t.teardown(() => program.stop('SIGKILL'));
    const traffic = () => /"traffic":"([^"]+)"/.exec(program.stderr())?.[1];
    for (let tries = 0; tries < 1_000 && traffic() === undefined; tries += 1)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const socket = connect(Number(new URL(traffic() ?? '').port), '127.0.0.1');
    t.teardown(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.write('GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(socket, 'data');
    // The record of that refusal is still in the buffer.
    const { exitCode, stderr } = await program.stop('SIGUSR2');
    t.equal(exitCode, 70);
    t.match(stderr, /state is in doubt/);
    t.match(stderr, /an injected fault/);
    t.match(readFileSync(join(directory, 'audit.log'), 'utf8'), /"path":"\/nowhere"/);
  });
