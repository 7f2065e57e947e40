/** `npm start`: gateway and tool registry together, everything embedded, and all a newcomer needs on one screen. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { RunningGateway } from '../assemble.ts';
import { loadConfig } from '../config/load.ts';
import type { FirstSecrets } from '../identity/setup.ts';
import { secretOf } from './secret.ts';
import { firstSecretsLines } from './setup.ts';
import { startLoaded } from './start.ts';
import { CommandError, type Terminal } from './terminal.ts';
import { recorded } from './with-identity.ts';

const registryMain = fileURLToPath(new URL('../../registry/main.ts', import.meta.url));

interface RunningRegistry {
  readonly url: string;
  /** Resolves with a sentence when it ends without being asked to. */
  readonly died: Promise<string>;
  stop(): Promise<void>;
}

export interface QuickStart {
  readonly gateway: RunningGateway;
  readonly died: Promise<string>;
  close(): Promise<void>;
}

export async function quickstart(terminal: Terminal, path: string): Promise<QuickStart> {
  // Its problems come first: nothing is started for a configuration that cannot be used.
  loadConfig({ path, env: terminal.env });
  const registry = await startRegistry(terminal);
  try {
    const env = { ...terminal.env, REGISTRY_URL: registry.url };
    const loaded = loadConfig({ path, env });
    const gateway = await startLoaded(terminal, loaded);
    const first = await recordedSetup(terminal, gateway);
    greet(terminal, gateway, registry.url, first, loaded.config.endpoints);
    const close = async () => {
      await gateway.close();
      await registry.stop();
    };
    return { gateway, died: registry.died, close };
  } catch (error) {
    await registry.stop();
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

/** The registry is a process of its own, as it is in production; it ends with this one, even after kill -9. */
async function startRegistry(terminal: Terminal): Promise<RunningRegistry> {
  const child = fork(registryMain, {
    env: terminal.env,
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
      else reject(new CommandError(`the registry did not start: ${message.failed ?? 'it did not say why'}`));
    });
    child.once('exit', (code) => reject(new CommandError(`the registry ended at once with code ${code}`)));
  });
  return {
    url,
    died: new Promise((resolve) => {
      child.once('exit', (code) => {
        if (!stopping) resolve(`the registry ended by itself with code ${code}`);
      });
    }),
    stop: async () => {
      stopping = true;
      child.kill('SIGTERM');
      await ended;
    },
  };
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
      ? ['The admin password and the first API key were shown at the first start.', '']
      : ['Shown this once; keep them:', '', ...firstSecretsLines(first).map((line) => `  ${line}`), '']),
    'Try it:',
    '',
    key === undefined
      ? `  curl ${trafficUrl}${base}/health`
      : `  curl -H 'Authorization: Bearer ${key}' ${trafficUrl}/tools`,
    '',
  ];
  for (const line of lines) terminal.print(line);
}
