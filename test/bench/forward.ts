/**
 * What a forwarded request costs the gateway's process: `node test/bench/forward.ts [requests] [body bytes]`. Client
 * and upstream are processes of their own; the bodies are inspected where there are any. Prints microseconds of the
 * processor a request, the least of five rounds: others may use the machine too.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestGateway } from '../support/gateway.ts';

const [, , requests = '4000', bodyBytes = '0', role] = process.argv;
const connections = 16;

if (role === 'upstream') serve();
else if (role !== undefined) await load(role);
else await measure();

function serve(): void {
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => response.end('ok'));
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
}

async function load(url: string): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const text = JSON.stringify({
    description: 'plain words, and "quoted" ones: '.repeat(Number(bodyBytes) / 32),
  });
  const one = async () => {
    const outgoing = request(`${url}/x`, {
      agent,
      method: bodyBytes === '0' ? 'GET' : 'POST',
      headers: bodyBytes === '0' ? {} : { 'content-type': 'application/json' },
    });
    outgoing.end(bodyBytes === '0' ? undefined : text);
    const [response] = await once(outgoing, 'response');
    if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
    await once(response.resume(), 'end');
  };
  process.on('message', async () => {
    let left = Number(requests);
    const worker = async () => {
      while (left-- > 0) await one();
    };
    await Promise.all(Array.from({ length: connections }, worker));
    process.send?.('done');
  });
  process.send?.('ready');
}

function child(...args: string[]): ChildProcess {
  return fork(import.meta.filename, [requests, bodyBytes, ...args]);
}

async function measure(): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
  const upstream = child('upstream');
  const [port] = await once(upstream, 'message');
  const gateway = await startTestGateway({
    directory,
    env: { UPSTREAM: `http://127.0.0.1:${port}` },
    yaml: `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits: { classes: { public: { rate: 1000000/second }, read: { rate: 1/second }, write: { rate: 1/second }, admin: { rate: 1/second } } }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams: { app: { url: "\${UPSTREAM}" } }
routes: [{ path: /*, upstream: app, permission: none, class: public, inspect: json }]
`,
  });
  const client = child(gateway.trafficUrl);
  await once(client, 'message');
  const rounds: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    const before = process.cpuUsage();
    client.send('go');
    await once(client, 'message');
    const { user, system } = process.cpuUsage(before);
    // The first one warms up.
    if (round > 0) rounds.push((user + system) / Number(requests));
  }
  process.stdout.write(
    `${Math.min(...rounds).toFixed(1)} µs a request (${rounds.map((us) => us.toFixed(0)).join(' ')})\n`,
  );
  client.kill();
  upstream.kill();
  await gateway.close();
  rmSync(directory, { recursive: true });
}
