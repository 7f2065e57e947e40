/**
 * What tracing costs: CPU time of the gateway's process for each forwarded request, off, on and not sampled, and
 * sampled at 0.1 and 1, in turn within one run. `node test/bench/tracing.ts [requests a round]`; it takes about a minute.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pool } from 'undici';
import { type Program, programEnv, runProgram, startProgram } from '../support/program.ts';

/** Fewer say less: one is to see that it runs. */
const rounds = Number(process.env.BENCH_ROUNDS ?? 7);
const requestsARound = Number(process.argv[2] ?? 2_000);
const atOnce = 16;

const yaml = `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  classes:
    public: { rate: 1000000/second }
    read: { rate: 1000/second }
    write: { rate: 1000/second }
    admin: { rate: 1000/second }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { app: { url: "\${REGISTRY_URL}" } }
routes: [{ path: /*, upstream: app, permission: none, class: public }]
tracing: { endpoint: "\${OTLP}", sample_ratio: "\${RATIO}" }
log: { level: info }
`;

interface Subject {
  readonly name: string;
  readonly program: Program;
  readonly pool: Pool;
  readonly operations: string;
  readonly taken: number[];
}

const directory = mkdtempSync(join(tmpdir(), 'bench-'));
const config = join(directory, 'gateway.yaml');
writeFileSync(config, yaml);
const service = await listening((_request, response) => response.end('ok'));
const receiver = await listening((request, response) => request.resume().on('end', () => response.end()));

async function listening(listener: Parameters<typeof createServer>[1]) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function subject(name: string, endpoint: string, ratio: string): Promise<Subject> {
  const env = {
    ...programEnv(join(directory, name)),
    AUDIT_LOG_FILE: join(directory, `${name}.log`),
    LOG_LEVEL: 'info',
    REGISTRY_URL: service.url,
    OTLP: endpoint,
    RATIO: ratio,
  };
  await runProgram(['setup', '--config', config, '--json'], env);
  const program = startProgram(['start', '--config', config], env);
  const [, traffic = '', operations = ''] = await new Promise<RegExpExecArray>((resolve) => {
    program.child.stderr?.on('data', () => {
      const match = /"traffic":"([^"]+)","operations":"([^"]+)"/.exec(program.stderr());
      if (match !== null) resolve(match);
    });
  });
  return { name, program, operations, pool: new Pool(traffic, { connections: atOnce }), taken: [] };
}

async function sample({ operations }: Subject, name: string): Promise<number> {
  const text = await (await fetch(`${operations}/metrics`)).text();
  return Number(new RegExp(`^${name} ([\\d.e+-]+)$`, 'm').exec(text)?.[1]);
}

/** Microseconds of CPU a request. */
async function measure(one: Subject): Promise<number> {
  const before = await sample(one, 'process_cpu_seconds_total');
  let left = requestsARound;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      const { statusCode, body } = await one.pool.request({ path: '/a', method: 'GET' });
      await body.dump();
      if (statusCode !== 200) throw new Error(`${one.name} answered ${statusCode}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return ((await sample(one, 'process_cpu_seconds_total')) - before) * (1e6 / requestsARound);
}

const subjects = [
  await subject('off', '', '0'),
  await subject('none', receiver.url, '0'),
  await subject('tenth', receiver.url, '0.1'),
  await subject('all', receiver.url, '1'),
];
for (const one of subjects) await measure(one);
for (let round = 0; round < rounds; round += 1)
  for (const one of subjects) one.taken.push(await measure(one));

/** The least of the rounds: others may use the machine too. */
const least = ({ taken }: Subject) => Math.min(...taken);
for (const one of subjects) {
  const ratio = least(one) / least(subjects[0] ?? one);
  const mib = (await sample(one, 'process_resident_memory_bytes')) / 1024 ** 2;
  process.stdout.write(
    `${one.name}: ${least(one).toFixed(0)} µs (${ratio.toFixed(2)}), ${mib.toFixed(0)} MiB\n`,
  );
  await one.pool.destroy();
  await one.program.stop();
}
service.server.close();
receiver.server.close();
rmSync(directory, { recursive: true, force: true });
