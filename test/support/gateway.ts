/** A whole gateway in this process, on free ports and in a folder of its own, with its secrets at hand. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { type RunningGateway, startGateway } from '../../src/assemble.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import { type LoadedConfig, parseConfig } from '../../src/config/load.ts';
import type { FirstSecrets } from '../../src/identity/setup.ts';
import { openLog } from '../../src/telemetry/log.ts';
import type { TestRegistry } from './registry.ts';

export interface TestGatewayOptions {
  /** A folder of the test's own. */
  readonly directory: string;
  /** Where the routes of the shipped gateway.yaml lead; it takes this gateway's assertions from then on. */
  readonly registry?: TestRegistry;
  /** Anything else they lead to. */
  readonly registryUrl?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Replaces the shipped gateway.yaml. */
  readonly yaml?: string;
  readonly clock?: Clock;
  /** In place of standard output, for an audit log that goes there. */
  readonly stdout?: Writable;
}

export interface TestGateway extends RunningGateway {
  /** The first admin's password and the first key (read, create, update). */
  readonly first: FirstSecrets;
  readonly auditPath: string;
  /** What it started with. */
  readonly yaml: string;
  /** A configuration as it would be loaded here. */
  load(yaml: string): LoadedConfig;
  /** What the audit log tells of requests so far, after a flush; not its checkpoints, nor what is no request. */
  audit(): Promise<Array<Record<string, unknown>>>;
  /** A call with the first admin's token; logs in when needed. */
  admin(method: string, path: string, body?: unknown): Promise<Response>;
}

/** Tests leave connections open that nobody will use again: their end is not waited for. */
function withoutPatience(loaded: LoadedConfig): LoadedConfig {
  const { listen } = loaded.config;
  const drain = { ...listen.drain, idle: 0 };
  return { ...loaded, config: { ...loaded.config, listen: { ...listen, drain } } };
}

/** Nobody listens here: port 9 is `discard`, closed on any machine of ours. */
const nowhere = 'http://127.0.0.1:9';

export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const auditPath = join(options.directory, 'audit.log');
  const env = {
    PORT: '0',
    OPERATIONS_PORT: '0',
    DATABASE_URL: `sqlite:${join(options.directory, 'portcullis.db')}`,
    AUDIT_LOG_FILE: auditPath,
    REGISTRY_URL: options.registry?.url ?? options.registryUrl ?? nowhere,
    ...options.env,
  };
  const yaml = options.yaml ?? readFileSync('gateway.yaml', 'utf8');
  const load = (source: string) => withoutPatience(parseConfig(source, { file: 'gateway.yaml', env }));
  const gateway = await startGateway(load(yaml), {
    clock: options.clock ?? systemClock,
    log: openLog('silent'),
    version: '0.0.0-test',
    nodeVersion: process.version,
    replica: 'test',
    stdout: options.stdout,
  });
  options.registry?.trust(gateway);
  const first = await gateway.identity.setup();
  if (first === undefined) throw new Error('the folder was used before');
  let token: string | undefined;
  return {
    ...gateway,
    first,
    yaml,
    load,
    auditPath,
    audit: () => readAudit(gateway, auditPath),
    admin: async (method, path, body) => {
      token ??= await logIn(gateway.trafficUrl, first.admin.username, first.password);
      return fetch(gateway.trafficUrl + path, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    },
  };
}

/** The access token of a login. */
export async function logIn(trafficUrl: string, username: string, password: string): Promise<string> {
  const response = await fetch(`${trafficUrl}/auth/login`, {
    method: 'POST',
    body: new URLSearchParams({ username, password }),
  });
  const { access_token } = (await response.json()) as { access_token?: string };
  if (access_token === undefined) throw new Error(`login answered ${response.status}`);
  return access_token;
}

async function readAudit(gateway: RunningGateway, path: string): Promise<Array<Record<string, unknown>>> {
  // The record of a response follows it by a moment; then it waits in the buffer.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await gateway.auditLog.flush();
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ stage }) => stage === 'attempt' || stage === 'open' || stage === 'complete');
}
