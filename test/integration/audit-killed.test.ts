/**
 * `kill -9` under load: what a client was told was done, and what the service got to do, is in the log, and the log
 * is still one that can be believed. 20 times; KILLS=1000 for more.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { keptSigningKey } from '../../src/audit/signing.ts';
import { auditFlushMs } from '../../src/limits.ts';
import { linesOf, verdictOf } from '../support/audit.ts';
import { type Program, programEnv, runProgram, startProgram } from '../support/program.ts';

const kills = Number(process.env.KILLS ?? 20);
const clients = 8;

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
auth: { failures: { rate: 100000/minute } }
rate_limits:
  classes:
    public: { rate: 1000000/minute }
    read: { rate: 1000000/minute }
    write: { rate: 1000000/minute }
    admin: { rate: 1000000/minute }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", rotate: { size: 1MiB } }] }
upstreams: { app: { url: "\${APP_URL}" } }
routes:
  - { path: /things/*, methods: [POST], upstream: app, permission: create, class: write }
  - { path: /things/*, methods: [GET], upstream: app, permission: read, class: read }
log: { level: info }
`;

interface Seen {
  /** Paths of changes that the service got. */
  readonly received: Set<string>;
  /** Paths of changes that a client saw succeed. */
  readonly succeeded: Set<string>;
  /** Reads that a client saw succeed, and when. */
  readonly read: Map<string, number>;
}

async function startService(seen: Seen) {
  const server = createServer((request, response) => {
    if (request.method === 'POST') seen.received.add(request.url ?? '');
    request.resume();
    response.end('done');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function trafficUrl(program: Program): Promise<string> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const found = /"traffic":"([^"]+)"/.exec(program.stderr())?.[1];
    if (found !== undefined) return found;
    await sleep(10);
  }
  throw new Error(`it does not listen: ${program.stderr()}`);
}

/** One request after the other, changes and reads in turn, until the gateway is gone. */
async function load(url: string, key: string, name: string, seen: Seen): Promise<void> {
  for (let count = 0; count < 100_000; count += 1) {
    const path = `/things/${name}-${count}`;
    const method = count % 3 === 0 ? 'GET' : 'POST';
    try {
      const response = await fetch(url + path, { method, headers: { 'x-api-key': key } });
      await response.text();
      if (response.status !== 200) continue;
      if (method === 'POST') seen.succeeded.add(path);
      else seen.read.set(path, performance.now());
    } catch {
      return;
    }
  }
}

t.setTimeout(240_000 + kills * 5_000);

t.test(`killed ${kills} times under load, it has lost no change, and its chain holds`, async (t) => {
  const directory = t.testdir();
  const seen: Seen = { received: new Set(), succeeded: new Set(), read: new Map() };
  const { server, url } = await startService(seen);
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml);
  const env = { ...programEnv(directory), APP_URL: url, LOG_LEVEL: 'info' };
  const made = await runProgram(['setup', '--json', '--config', config], env);
  t.equal(made.exitCode, 0, made.stderr);
  const { key } = JSON.parse(made.stdout);
  /** Reads that were answered long enough before the end. */
  const mustBeRead: string[] = [];
  for (let round = 0; round < kills; round += 1) {
    const program = startProgram(['start', '--config', config], env);
    const traffic = await trafficUrl(program);
    const running = Array.from({ length: clients }, (_, client) =>
      load(traffic, key, `${round}-${client}`, seen),
    );
    // The first round goes on for so long that reads of its beginning have to be on disk.
    await sleep(round === 0 ? 4 * auditFlushMs + 1_000 : 50 + Math.random() * 200);
    const killedMs = performance.now();
    await program.stop('SIGKILL');
    await Promise.all(running);
    for (const [path, readMs] of seen.read) {
      if (readMs < killedMs - auditFlushMs - 1_000) mustBeRead.push(path);
    }
    seen.read.clear();
  }
  const last = startProgram(['start', '--config', config], env);
  await trafficUrl(last);
  await last.stop('SIGTERM');

  const log = join(directory, 'audit.log');
  const files = [...(await rotatedFiles(log)), log];
  const recorded = new Set<string>();
  for (const line of files.flatMap(linesOf)) {
    // A torn line is none.
    if (line.endsWith('}')) recorded.add((JSON.parse(line) as { path?: string }).path ?? '');
  }
  const lost = (paths: Iterable<string>) => [...paths].filter((path) => !recorded.has(path));
  t.ok(seen.received.size > kills, `the service got ${seen.received.size} changes`);
  t.ok(seen.succeeded.size > kills, `clients saw ${seen.succeeded.size} succeed`);
  t.strictSame(lost(seen.received), [], 'all that the service got is in the log');
  t.strictSame(lost(seen.succeeded), [], 'all that a client saw succeed is in the log');
  t.ok(mustBeRead.length > 0);
  t.strictSame(lost(mustBeRead), [], 'and reads that were older than the bound');
  const verdict = verdictOf(files, keptSigningKey(join(directory, 'data/audit-signing.key')));
  t.equal(verdict.fault, undefined);
  t.equal(verdict.unproven, 0);
  t.ok(verdict.records > seen.received.size * 1.5);
});
