/** The real program with several workers, in a process each, before a service that answers. */

import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { type Ended, type Program, programEnv, runProgram, startProgram } from './program.ts';
import { until } from './redis.ts';

interface Test {
  testdir(): string;
  teardown(callback: () => unknown): void;
}

export interface CrewOptions {
  readonly workers?: number;
  /** Lines of gateway.yaml beside those below; a section that stands there replaces it. */
  readonly sections?: Readonly<Record<string, string>>;
  readonly env?: NodeJS.ProcessEnv;
}

const sections: Readonly<Record<string, string>> = {
  version: '1',
  listen: `{ port: "\${PORT}", drain: { idle: 100ms, grace: 5s } }`,
  operations: `{ port: "\${OPERATIONS_PORT}" }`,
  database: `\${DATABASE_URL}`,
  rate_limits: `
  redis: \${REDIS_URL:-}
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
    hourly: { rate: 60/hour }`,
  audit: `{ sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }`,
  upstreams: `{ app: { url: "\${APP_URL}" } }`,
  routes: `
  - { path: /open/*, upstream: app, permission: none, class: public }
  - { path: /hourly/*, upstream: app, permission: none, class: hourly }
  - { path: /things/*, upstream: app, permission: read, class: read }`,
  log: '{ level: info }',
};

export interface Crew {
  readonly program: Program;
  readonly url: string;
  readonly operations: string;
  readonly config: string;
  readonly env: NodeJS.ProcessEnv;
  /** Answers to what was not answered yet; requests to `/…/slow` wait for it. */
  readonly release: () => void;
  /** Over a connection of its own. @returns status, and what was answered */
  get(path: string, headers?: Record<string, string>): Promise<{ status: number; text: string }>;
  post(
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; text: string }>;
  /** The sum of the series that begin so. */
  metric(begin: string): Promise<number>;
  isReady(): Promise<boolean>;
  /** Whether all workers take connections. */
  isWhole(): Promise<boolean>;
  /** Ends a worker by force, and waits until another has taken its place. */
  kill(pid: number): Promise<void>;
  /** Process ids of its workers, in the order in which they were forked. */
  workerIds(): number[];
  command(args: readonly string[], input?: string): Promise<Ended>;
  auditFiles(): Promise<string[]>;
}

async function startService(t: Test): Promise<{ url: string; release: () => void }> {
  const waiting: Array<() => void> = [];
  const server: Server = createServer((asked, response) => {
    asked.resume();
    if (asked.url?.endsWith('/slow')) waiting.push(() => response.end('late'));
    else response.end('done');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    release: () => {
      for (const answer of waiting.splice(0)) answer();
    },
  };
}

export function writeConfig(path: string, { workers = 2, sections: others = {} }: CrewOptions): void {
  const all = { ...sections, ...others, workers: String(workers) };
  writeFileSync(
    path,
    Object.entries(all)
      .map(([key, value]) => `${key}: ${value}\n`)
      .join(''),
  );
}

/** Three processes one after another, on a machine that has much else to do. */
const startMsMax = 120_000;

/** What the last to be up says; of one process there is only the one. */
const started = /"traffic":"([^"]+)","operations":"([^"]+)"/;

export async function startCrew(t: Test, options: CrewOptions = {}): Promise<Crew> {
  const directory = t.testdir();
  const service = await startService(t);
  const config = join(directory, 'gateway.yaml');
  writeConfig(config, options);
  const env = { ...programEnv(directory), APP_URL: service.url, LOG_LEVEL: 'info', ...options.env };
  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop());
  t.teardown(service.release);
  let found: RegExpExecArray | null = null;
  await until(() => {
    if (program.child.exitCode !== null) throw new Error(program.stderr());
    found = started.exec(program.stderr());
    return found !== null;
  }, startMsMax);
  const [, url = '', operations = ''] = found ?? [];
  const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const asked = request(url + path, { method, headers, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part) => {
          text += part;
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      });
      asked.on('error', reject);
      asked.end(body);
    });
  const isReady = async () => (await fetch(`${operations}/readyz`)).status === 200;
  const metric = async (begin: string) => {
    const text = await (await fetch(`${operations}/metrics`)).text();
    const values = text.split('\n').filter((line) => line.startsWith(begin));
    return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  };
  const isWhole = async () =>
    (await metric('portcullis_workers_listening ')) === (await metric('portcullis_workers '));
  const workerIds = () => childrenOf(program.child.pid ?? 0);
  return {
    program,
    url,
    operations,
    config,
    env,
    release: service.release,
    get: (path, headers = {}) => ask('GET', path, headers),
    post: (path, body, headers = {}) =>
      ask('POST', path, { 'content-type': 'application/json', ...headers }, JSON.stringify(body)),
    metric,
    isReady,
    isWhole,
    kill: (pid) => {
      process.kill(pid, 'SIGKILL');
      // Until the primary has noticed, it is as whole as before.
      return until(async () => !workerIds().includes(pid) && (await isWhole()), startMsMax);
    },
    workerIds,
    command: (args, input) => runProgram([...args, '--config', config], env, input),
    auditFiles: async () => [
      ...(await rotatedFiles(join(directory, 'audit.log'))),
      join(directory, 'audit.log'),
    ],
  };
}

/** A key that may read, made on the command line. */
export async function makeKey(crew: Crew): Promise<{ id: string; key: string }> {
  const made = await crew.command(['key', 'create', '--name', 'test', '--permissions', 'read', '--json']);
  return JSON.parse(made.stdout) as { id: string; key: string };
}

/** So many at once; how often each status came. */
export async function statusesOf(crew: Crew, path: string, count: number): Promise<Record<number, number>> {
  const answers = await Promise.all(Array.from({ length: count }, () => crew.get(path)));
  const statuses: Record<number, number> = {};
  for (const { status } of answers) statuses[status] = (statuses[status] ?? 0) + 1;
  return statuses;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
