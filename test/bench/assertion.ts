/**
 * What the assertion costs: CPU time of the gateway process for each request, with it and without it, in turn within
 * one run. `node test/bench/assertion.ts`; it takes under a minute.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import { programEnv, runProgram, startProgram } from '../support/program.ts';

/** Fewer say less: one is to see that it runs. */
const rounds = Number(process.env.BENCH_ROUNDS ?? 5);
const requestsARound = 3_000;
const atOnce = 16;

const route = 'upstream: app, class: bench, permission';
const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 1000/second }
    read: { rate: 1000/second }
    write: { rate: 1000/second }
    admin: { rate: 1000/second }
    bench: { rate: 1000000/second }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { app: { url: "\${REGISTRY_URL}" } }
routes:
  - { path: /open/off, ${route}: none }
  - { path: /open/on, ${route}: none, assertion: true }
  - { path: /key/off, ${route}: read }
  - { path: /key/on, ${route}: read, assertion: true }
log: { level: info }
`;

const directory = mkdtempSync(join(tmpdir(), 'bench-'));
const service = createServer((_request, response) => response.end('ok')).listen(0, '127.0.0.1');
await once(service, 'listening');
const config = join(directory, 'gateway.yaml');
writeFileSync(config, yaml);
const env = {
  ...programEnv(directory),
  LOG_LEVEL: 'info',
  REGISTRY_URL: `http://127.0.0.1:${(service.address() as AddressInfo).port}`,
};
const { stdout } = await runProgram(['setup', '--config', config, '--json'], env);
const apiKey = /mcp_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}/.exec(stdout)?.[0] ?? '';
const program = startProgram(['start', '--config', config], env);
const [, traffic = '', operations = ''] = await new Promise<RegExpExecArray>((resolve) => {
  program.child.stderr?.on('data', () => {
    const match = /"traffic":"([^"]+)","operations":"([^"]+)"/.exec(program.stderr());
    if (match !== null) resolve(match);
  });
});
const pool = new Pool(traffic, { connections: atOnce });

async function cpuSeconds(): Promise<number> {
  const text = await (await fetch(`${operations}/metrics`)).text();
  return Number(/^(?:portcullis_)?process_cpu_seconds_total ([\d.e+-]+)$/m.exec(text)?.[1]);
}

let serial = 0;

/** Microseconds of CPU a request. @param fresh a target of its own for each, so that each is signed */
async function measure(path: string, fresh: boolean): Promise<number> {
  const before = await cpuSeconds();
  let left = requestsARound;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      serial += 1;
      const target = fresh ? `${path}?${serial}` : `${path}?same`;
      const { statusCode, body } = await pool.request({
        path: target,
        method: 'GET',
        headers: { 'x-api-key': apiKey },
      });
      await body.dump();
      if (statusCode !== 200) throw new Error(`${target} answered ${statusCode}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return ((await cpuSeconds()) - before) * (1e6 / requestsARound);
}

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

for (const kind of ['open', 'key']) {
  await measure(`/${kind}/on`, true);
  await measure(`/${kind}/off`, false);
  const taken: Record<'off' | 'reused' | 'signed', number[]> = { off: [], reused: [], signed: [] };
  for (let round = 0; round < rounds; round += 1) {
    taken.off.push(await measure(`/${kind}/off`, true));
    taken.reused.push(await measure(`/${kind}/on`, false));
    taken.signed.push(await measure(`/${kind}/on`, true));
  }
  const off = median(taken.off);
  const line = (name: 'off' | 'reused' | 'signed') => {
    const value = median(taken[name]);
    return `${name} ${value.toFixed(0)} µs (${(value / off).toFixed(2)})`;
  };
  process.stdout.write(`${kind}: ${line('off')}, ${line('reused')}, ${line('signed')}\n`);
}
await pool.destroy();
await program.stop();
service.close();
rmSync(directory, { recursive: true, force: true });
