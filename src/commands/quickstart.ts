/** `npm start`: gateway and tool registry together, everything embedded, and all a newcomer needs on one screen. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { RunningGateway } from '../assemble.ts';
import { noDatabase } from '../config/database-location.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { ConfigSource } from '../config/source.ts';
import type { Environment } from '../config/variables.ts';
import { within } from '../credentials/issuer-keys.ts';
import type { FirstSecrets } from '../identity/setup.ts';
import { secretOf } from './secret.ts';
import { firstSecretsLines } from './setup.ts';
import { type FollowingGateway, startFollowing } from './start.ts';
import { CommandError, type Terminal } from './terminal.ts';
import { recorded } from './with-identity.ts';

/** How long the start waits for the registry to have the gateway's keys. */
const keysWaitMs = 10_000;

const registryMain = fileURLToPath(new URL('../../registry/main.ts', import.meta.url));

interface RunningRegistry {
  readonly url: string;
  /** Names the gateway's JWK Set to it; resolves once it has the keys, or when that takes too long. */
  trust(jwksUrl: string): Promise<void>;
  /** Resolves with a sentence when it ends without being asked to. */
  readonly died: Promise<string>;
  stop(): Promise<void>;
}

export interface QuickStart {
  readonly gateway: FollowingGateway;
  readonly died: Promise<string>;
  close(): Promise<void>;
}

export async function quickstart(terminal: Terminal, path: string): Promise<QuickStart> {
  // Its problems come first: nothing is started for a configuration that cannot be used.
  const { auth, database } = loadConfig({ path, env: terminal.env }).config;
  if (database === noDatabase)
    throw new CommandError('the quick start needs a database; run: portcullis start');
  const { issuer } = auth.tokens;
  // Closed last in, first out: at the end, or at once when something after it fails.
  const opened = new AsyncDisposableStack();
  try {
    const registry = opened.adopt(await startRegistry(terminal, issuer), (running) => running.stop());
    const env = { ...terminal.env, REGISTRY_URL: registry.url, REGISTRY_URL_FILE: undefined };
    const source = new ConfigSource(path, env);
    const { gateway, config, log } = await startFollowing(terminal, source, source.load());
    if (config.workers > 1) log.warn('the quick start is one process: workers is for portcullis start');
    opened.defer(() => gateway.close());
    await registry.trust(`${gateway.operationsUrl}/.well-known/jwks.json`);
    const first = await recordedSetup(terminal, gateway);
    greet(terminal, gateway, registry.url, first, config.endpoints);
    const refused = refusedRoutes(config, registry.url, terminal.env.REGISTRY_AUDIENCE || 'registry');
    if (terminal.env.REGISTRY_JWKS !== 'off') for (const line of refused) terminal.print(line);
    const died = Promise.race([registry.died, gateway.died]);
    return { gateway, died, close: () => opened.disposeAsync() };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function recordedSetup(
  terminal: Terminal,
  { identity, auditLog }: RunningGateway,
): Promise<FirstSecrets | undefined> {
  if (!(await identity.isEmpty())) return undefined;
  const work = () => identity.setup({ adminPassword: secretOf(terminal, 'ADMIN_PASSWORD') });
  return recorded(auditLog, terminal, { command: 'setup' }, work, (made) => made?.key.id);
}

/** What the registry needs, and none of the gateway's secrets. */
function registryEnv(env: Environment, issuer: string): Record<string, string | undefined> {
  const needed = /^(?:REGISTRY_\w+|LOG_LEVEL|PATH|HOME|TZ|NODE_\w+)$/;
  const given = Object.entries(env).filter(([name, value]) => needed.test(name) && value);
  // The gateway's port may be any free one, so the URL of its keys is told later.
  return { REGISTRY_JWKS: 'parent', REGISTRY_ISSUER: issuer, ...Object.fromEntries(given) };
}

/** The registry is a process of its own, as it is in production; it ends with this one, even after kill -9. */
async function startRegistry(terminal: Terminal, issuer: string): Promise<RunningRegistry> {
  const env = registryEnv(terminal.env, issuer);
  const child = fork(registryMain, {
    env,
    execArgv: [],
    // Out of the terminal's reach: a Ctrl-C ends the gateway first, then the registry behind it.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  let stopping = false;
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message: { listening?: string; failed?: string }) => {
      if (message.listening !== undefined) resolve(message.listening);
      // It has said why on standard error.
      else reject(new CommandError('the registry did not start'));
    });
    child.once('exit', (code) => reject(new CommandError(`the registry ended at once with code ${code}`)));
  });
  return {
    url,
    trust: async (jwks) => {
      if (env.REGISTRY_JWKS !== 'parent') return;
      const here = new Promise<void>((resolve) => child.once('message', () => resolve()));
      child.send({ jwks }, () => undefined);
      // It goes on asking by itself, and says in its log what is wrong.
      await within(keysWaitMs, Promise.race([here, ended]));
    },
    died: new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        if (!stopping) resolve(`the registry ended by itself (${signal ?? `code ${code}`})`);
      });
    }),
    stop: async () => {
      stopping = true;
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** What the registry will answer with 401, as it takes nothing that the gateway has not signed for it. */
function refusedRoutes({ routes, upstreams }: Config, registryUrl: string, audience: string): string[] {
  const toRegistry = routes.filter(({ upstream }) => upstreams[upstream]?.urls.includes(registryUrl));
  const unsigned = [...new Set(toRegistry.filter(({ assertion }) => !assertion).map(({ path }) => path))];
  const others = [...new Set(toRegistry.map(({ upstream }) => upstream))].filter((name) => name !== audience);
  return [
    ...unsigned.map((path) => `  ${path}: the registry answers 401 until its route has assertion: true`),
    ...others.map(
      (name) => `  upstream ${name}: the registry answers 401 unless REGISTRY_AUDIENCE is ${name}`,
    ),
    ...(unsigned.length + others.length > 0 ? [''] : []),
  ];
}

function greet(
  terminal: Terminal,
  { trafficUrl, operationsUrl }: RunningGateway,
  registryUrl: string,
  first: FirstSecrets | undefined,
  { prefix, docs }: { prefix: string; docs: boolean },
): void {
  const base = prefix === '/' ? '' : prefix;
  const key = first?.key.key;
  const lines = [
    '',
    'Portcullis is up.',
    '',
    `  traffic  ${trafficUrl}`,
    ...(docs ? [`  docs     ${trafficUrl}${base}/docs`] : []),
    `  metrics  ${operationsUrl}/metrics`,
    `  registry ${registryUrl}  (reached through the gateway only)`,
    '',
    ...(first === undefined
      ? [
          'The admin password and the first API key were shown at the first start. Lost? On the command line:',
          '',
          '  npx --no portcullis user reset-password admin',
          '  npx --no portcullis key create --name mine --permissions read,create,update',
          '',
        ]
      : ['Shown this once; keep them:', '', ...firstSecretsLines(first).map((line) => `  ${line}`), '']),
    'Try it (Ctrl-C here stops everything):',
    '',
    key === undefined
      ? `  curl ${trafficUrl}${base}/health`
      : `  curl -H 'Authorization: Bearer ${key}' ${trafficUrl}/tools`,
    '',
  ];
  for (const line of lines) terminal.print(line);
}
