/** Runs the registry as a program of its own: `node registry/main.ts`. The only file here that touches `process`. */
import { type Logger, pino } from 'pino';
import { readRegularFile } from '../src/sql/regular-file.ts';
import type { KeySource } from './gateway-keys.ts';
import { parseKeyPlace, readableFile, urlSource } from './key-source.ts';
import { StartError } from './listen.ts';
import { type Registry, type RegistryOptions, startRegistry } from './start.ts';

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];
const urlBytesMax = 4_096;
const consent = 'yes-i-know-the-registry-has-no-authentication-of-its-own';

/** An empty variable is what a compose file or manifest makes of one that is not set. */
function setting(name: string, otherwise: string): string {
  return process.env[name] || otherwise;
}

/** The URL may hold a password, which a mounted file keeps out of the environment. */
function databaseUrl(): string {
  const [url, file] = [setting('REGISTRY_DATABASE_URL', ''), setting('REGISTRY_DATABASE_URL_FILE', '')];
  if (file === '') return url || 'sqlite:./data/registry.db';
  if (url !== '') throw new StartError('REGISTRY_DATABASE_URL and REGISTRY_DATABASE_URL_FILE are both set.');
  try {
    return new TextDecoder().decode(readRegularFile(file, urlBytesMax)).replace(/\r?\n$/, '');
  } catch (error) {
    const sentence = `REGISTRY_DATABASE_URL_FILE names ${JSON.stringify(file)}, which cannot be read.`;
    throw new StartError(sentence, { cause: error });
  }
}

/** Who is let in, and by whose keys. Without REGISTRY_JWKS nothing starts: an omission must not open it. */
async function assertions(): Promise<RegistryOptions['assertions']> {
  const place = parseKeyPlace(setting('REGISTRY_JWKS', ''));
  if (place.kind === 'off') return 'off';
  const who = {
    issuer: setting('REGISTRY_ISSUER', 'portcullis'),
    audience: setting('REGISTRY_AUDIENCE', 'registry'),
  };
  if (place.kind === 'parent') return { ...who, source: parentSource() };
  return { ...who, source: place.kind === 'file' ? await readableFile(place.at) : urlSource(place.at) };
}

/** The parent names the URL once it listens there, which is after this process does, and hears of the keys. */
function parentSource(): KeySource {
  if (process.send === undefined) {
    throw new StartError('REGISTRY_JWKS is parent, and no process that names the URL has started this one.');
  }
  const named = new Promise<string>((resolve) => {
    process.once('message', ({ jwks }: { jwks: string }) => resolve(jwks));
  });
  return async () => {
    const text = await urlSource(await named)();
    void tellParent({ keys: 'here' });
    return text;
  };
}

function createLog(): Logger {
  const level = setting('LOG_LEVEL', 'info').toLowerCase();
  if (!levels.includes(level)) {
    throw new StartError(`LOG_LEVEL is ${JSON.stringify(level)}: write one of ${levels.join(', ')}.`);
  }
  // Synchronous, so that the last line before an exit is written.
  const formatters = { level: (label: string) => ({ level: label }) };
  const options = {
    level,
    base: { name: 'registry' },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters,
  };
  return pino(options, pino.destination({ dest: 2, sync: true }));
}

async function run(): Promise<void> {
  const log = createLog();
  // It ends the process all the same; this only sees that the log says why.
  process.on('uncaughtExceptionMonitor', (error) => log.fatal({ err: error }, 'the registry has a fault'));
  const registry = await startRegistry({
    databaseUrl: databaseUrl(),
    listen: setting('REGISTRY_LISTEN', '127.0.0.1:8081'),
    allowNonLoopback: process.env.REGISTRY_ALLOW_NON_LOOPBACK === consent,
    log,
    wallMs: Date.now,
    assertions: await assertions(),
  });
  log.info({ url: registry.url }, 'the registry is listening');
  stopOnRequest(registry, log);
  tellParent({ listening: registry.url });
}

/** A signal, or the end of the process that started this one. */
function stopOnRequest(registry: Registry, log: Logger): void {
  let stopping = false;
  const stop = async (reason: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ reason }, 'the registry is stopping');
    await registry.close();
    log.info('the registry has stopped');
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void stop(signal));
  process.on('disconnect', () => void stop('the parent process is gone'));
  // It may have gone while the database was being opened.
  if (process.send !== undefined && !process.connected) void stop('the parent process is gone');
}

/** Only when started by `child_process.fork`. */
function tellParent(message: { listening: string } | { failed: string } | { keys: 'here' }): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (process.send === undefined || !process.connected) resolve();
  // A parent that has just gone is dealt with by `disconnect`.
  else process.send(message, undefined, {}, () => resolve());
  return promise;
}

async function fail(error: unknown): Promise<void> {
  const isKnown = error instanceof StartError;
  const sentence = isKnown ? error.message : 'The registry failed to start.';
  process.stderr.write(`${sentence}\n`);
  if (!isKnown) process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  await tellParent({ failed: sentence });
  process.exit(1);
}

// The database, its journal and a Unix socket are born private; only the socket is opened up, to its group.
process.umask(0o077);
run().catch(fail);
