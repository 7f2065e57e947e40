/**
 * What an audit sink costs a request: `node test/bench/audit-sinks.ts [requests] [rounds]`. The gateway answers
 * /health with each set of sinks in turn; client and receivers are processes of their own, so that only the gateway's
 * own work is counted. Prints microseconds of the processor a request, the least of the rounds, and how it compares to
 * the file alone in the same run: others may use the machine too.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { startTestGateway } from '../support/gateway.ts';
import { startRedis } from '../support/redis.ts';

const [, , requests = '4000', rounds = '5', role] = process.argv;
const connections = 16;

if (role === 'receiver') receive();
else if (role !== undefined) await load(role);
else await measure();

function receive(): void {
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(204).end());
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
}

async function load(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const one = async () => {
    const outgoing = request(`${url}/health`, { agent });
    outgoing.end();
    const [answer] = await once(outgoing, 'response');
    answer.resume();
    await once(answer, 'end');
  };
  const each = Math.ceil(Number(requests) / connections);
  await Promise.all(
    Array.from({ length: connections }, async () => {
      for (let count = 0; count < each; count += 1) await one();
    }),
  );
  agent.destroy();
}

async function measure(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'));
  const endings: Array<() => unknown> = [() => rmSync(directory, { recursive: true })];
  try {
    const receiver = fork(import.meta.filename, [requests, rounds, 'receiver']);
    endings.push(() => receiver.kill());
    const [port] = (await once(receiver, 'message')) as [number];
    const redis = await startRedis({ teardown: (ending) => endings.push(ending) });
    const outlets: Record<string, string> = {
      file: '',
      'file, stdout': '\n    - { type: stdout }',
      'file, http': `\n    - { type: http, url: "http://127.0.0.1:${port}/" }`,
      'file, redis_stream': `\n    - { type: redis_stream, url: "${redis.url}" }`,
      'file, http (dead)': '\n    - { type: http, url: "http://127.0.0.1:9/" }',
      'file, http (dead, spilling)': `\n    - { type: http, url: "http://127.0.0.1:9/", buffer: 64KiB, spill: { path: "${join(directory, 'spill')}" } }`,
    };
    const least = new Map<string, number>();
    for (let round = 0; round < Number(rounds); round += 1) {
      for (const [name, sinks] of Object.entries(outlets)) {
        const cost = await costOf(mkdtempSync(join(directory, 'run-')), sinks);
        least.set(name, Math.min(cost, least.get(name) ?? Number.POSITIVE_INFINITY));
      }
    }
    const base = least.get('file') ?? Number.NaN;
    for (const [name, cost] of least)
      process.stdout.write(
        `${name.padEnd(30)} ${cost.toFixed(0)} µs a request, ${(cost / base).toFixed(2)} of the file alone\n`,
      );
  } finally {
    for (const ending of endings.reverse()) await ending();
  }
}

async function costOf(directory: string, sinks: string): Promise<number> {
  const yaml = `version: 1
listen: { host: 127.0.0.1, port: 0 }
operations: { port: 0 }
database: "sqlite:${join(directory, 'p.db')}"
rate_limits: { classes: { public: { rate: 1000000/second }, read: { rate: 1/second }, write: { rate: 1/second }, admin: { rate: 1/second } } }
audit:
  sinks:
    - { type: file, path: "${join(directory, 'audit.log')}", fsync: false }${sinks}
log: { level: silent }
`;
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() });
  const gateway = await startTestGateway({ directory, yaml, stdout });
  try {
    await drive(gateway.trafficUrl);
    const before = process.cpuUsage();
    await drive(gateway.trafficUrl);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / Number(requests);
  } finally {
    await gateway.close();
  }
}

async function drive(url: string): Promise<void> {
  const client: ChildProcess = fork(import.meta.filename, [requests, rounds, url]);
  const [code] = await once(client, 'exit');
  if (code !== 0) throw new Error(`the client ended with ${code}`);
}
