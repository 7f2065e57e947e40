/** Several gateways, each a program of its own, before one upstream that counts what reaches it. */
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Program, programEnv, startProgram } from '../../support/program.ts';
import { until } from '../../support/redis.ts';

interface Test {
  testdir(): string;
  teardown(callback: () => unknown): void;
}

/** Public routes, so that everyone at one address shares a bucket: `/small/…`, `/large/…` and the like by class. */
const yaml = (classes: string, limits: string) => `
version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits:
  redis: \${REDIS_URL:-}
${limits}
  classes:
    public: { rate: 100000/minute }
${classes}
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
endpoints: { identity: false, docs: false }
upstreams: { app: { url: "\${REGISTRY_URL}", connections: 256, pending: 10000 } }
routes:
${[...classes.matchAll(/^ +(\w+):/gm)]
  .map(([, name]) => `  - { path: /${name}/*, upstream: app, permission: none, class: ${name} }`)
  .join('\n')}
log: { level: info }
`;

export interface CountingUpstream {
  readonly url: string;
  /** Requests that have come so far, by the first segment of their path. */
  count(name: string): number;
}

export async function startCountingUpstream(t: Test): Promise<CountingUpstream> {
  const counts = new Map<string, number>();
  const server = createServer((request, response) => {
    const name = request.url?.split('/')[1] ?? '';
    counts.set(name, (counts.get(name) ?? 0) + 1);
    response.end('ok');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, count: (name) => counts.get(name) ?? 0 };
}

export interface Gateways {
  readonly upstream: CountingUpstream;
  readonly programs: readonly Program[];
  /** Where each takes traffic. */
  readonly urls: readonly string[];
  /** Asks the gateway of this number. */
  get(gateway: number, path: string): Promise<Response>;
  /** A metric of it: the sum over what begins so. */
  metric(gateway: number, begin: string): Promise<number>;
}

/** @param options `classes`: lines below `rate_limits.classes`; `limits`: lines below `rate_limits` */
export async function startGateways(
  t: Test,
  options: { count: number; redis: string; classes: string; limits?: string },
): Promise<Gateways> {
  const upstream = await startCountingUpstream(t);
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yaml(options.classes, options.limits ?? ''));
  const programs = Array.from({ length: options.count }, (_, index) => {
    const own = join(directory, String(index));
    mkdirSync(own);
    const env = { ...programEnv(own), REDIS_URL: options.redis, REGISTRY_URL: upstream.url };
    const program = startProgram(['start', '--config', config], env);
    t.teardown(() => program.stop('SIGKILL'));
    return program;
  });
  const places = await Promise.all(programs.map(placesOf));
  const urls = places.map(({ traffic }) => traffic);
  return {
    upstream,
    programs,
    urls,
    get: (gateway, path) => fetch(urls[gateway] + path, { signal: AbortSignal.timeout(20_000) }),
    metric: async (gateway, begin) => {
      const text = await (await fetch(`${places[gateway]?.operations}/metrics`)).text();
      return text
        .split('\n')
        .filter((line) => line.startsWith(`portcullis_${begin}`))
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
  };
}

async function placesOf(program: Program): Promise<{ traffic: string; operations: string }> {
  const pattern = /"traffic":"([^"]+)","operations":"([^"]+)"/;
  await until(() => {
    if (program.child.exitCode !== null) throw new Error(program.stderr());
    return pattern.test(program.stderr());
  });
  const [, traffic = '', operations = ''] = pattern.exec(program.stderr()) ?? [];
  return { traffic, operations };
}
