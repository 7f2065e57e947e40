/** Runs a command on the database of users and keys; what it changes is on record before it is done, as over HTTP. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { AuditLog } from '../audit/log.ts';
import { openAudit } from '../audit/open.ts';
import { type AuditRecord, bareRecord, maskCredentials } from '../audit/record.ts';
import { systemClock } from '../clock.ts';
import { noDatabase } from '../config/database-location.ts';
import { loadConfig } from '../config/load.ts';
import { quoted } from '../config/problem.ts';
import type { Config } from '../config/schema.ts';
import { errorKinds, Refusal } from '../errors.ts';
import { type Identity, openIdentity } from '../identity/store.ts';
import { parseDatabaseUrl } from '../sql/url.ts';
import { openLog } from '../telemetry/log.ts';
import { CommandError, type Terminal } from './terminal.ts';

/** Opens what the configuration names, runs `work`, closes again. Reads only: nothing is recorded. */
export async function withIdentity<T>(
  terminal: Terminal,
  configPath: string,
  work: (identity: Identity) => Promise<T>,
): Promise<T> {
  const { config } = loadConfig({ path: configPath, env: terminal.env, keyFiles: false });
  requireDatabase(config);
  return onIdentity(config, work);
}

/** A relative path from another directory would make a second, empty database in silence. */
export function requireDatabase({ database }: Config): void {
  if (database === noDatabase) {
    throw new CommandError('there are no users and keys: gateway.yaml says database: none');
  }
  const location = parseDatabaseUrl(database);
  if (location.kind !== 'sqlite') return;
  const path = resolve(location.path);
  if (existsSync(path)) return;
  throw new CommandError(
    `there is no database at ${path}: run this where the gateway runs, or set DATABASE_URL as it does; ` +
      '`portcullis setup` makes a new one',
  );
}

async function onIdentity<T>(config: Config, work: (identity: Identity) => Promise<T>): Promise<T> {
  const log = openLog('error');
  const onError = (err: unknown) => log.warn({ err }, 'identity');
  const identity = await openIdentity({ config, clock: systemClock, onError, makesTokens: false });
  try {
    return await work(identity);
  } finally {
    await identity.close();
  }
}

/** What a changing command says of itself in the audit log. */
export interface Change {
  /** Such as `key create`. */
  readonly command: string;
  /** The id or name it was asked to change; never a secret. */
  readonly target?: string;
}

/**
 * Like `withIdentity`, with an `attempt` record on disk before the work and a `complete` one after.
 * @param idOf the public id of what was made or changed
 */
export async function withChange<T>(
  terminal: Terminal,
  configPath: string,
  change: Change,
  work: (identity: Identity) => Promise<T>,
  idOf?: (result: T) => string | undefined,
): Promise<T> {
  const { config, digest } = loadConfig({ path: configPath, env: terminal.env, keyFiles: false });
  if (change.command !== 'setup' || config.database === noDatabase) requireDatabase(config);
  const replica = `${terminal.hostname}/${terminal.pid}`;
  const log = openLog('error');
  const stdout = terminal.stderr;
  const audit = await openAudit({ config, digest, replica, clock: systemClock, log, stdout, rotates: false });
  try {
    return await onIdentity(config, (identity) =>
      recorded(audit, terminal, change, () => work(identity), idOf),
    );
  } catch (error) {
    throw isNotFound(error) ? namesNothing(change) : error;
  } finally {
    await audit.close();
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Refusal && error.code === 'resource_not_found';
}

/** A word of the shell's making (an empty variable, a second id) shows only when it is said back. */
function namesNothing({ command, target = '' }: Change): CommandError {
  const [kind] = command.split(' ');
  const named = quoted(maskCredentials(target));
  return new CommandError(`there is no ${kind} ${named}: see \`portcullis ${kind} list\``);
}

/** Two durable records around `work`; the second says how it ended. */
export async function recorded<T>(
  audit: AuditLog,
  terminal: Terminal,
  change: Change,
  work: () => Promise<T>,
  idOf?: (result: T) => string | undefined,
): Promise<T> {
  const attempt = attemptRecord(terminal, change);
  const startedMs = systemClock.monotonicMs();
  await audit.appendDurable(attempt);
  const complete = (outcome: Partial<AuditRecord>) => {
    const seconds = (systemClock.monotonicMs() - startedMs) / 1000;
    audit.append({ ...attempt, stage: 'complete', process_time: seconds, ...outcome });
  };
  try {
    const result = await work();
    // Not waited for: what was done is done, and its secret must be shown whatever the disk says now.
    complete({
      decision: 'allow',
      status_code: 200,
      credential_id: idOf?.(result) ?? attempt.credential_id,
    });
    return result;
  } catch (error) {
    const code = error instanceof Refusal ? error.code : 'internal_error';
    const { status, source } = errorKinds[code];
    complete({ decision: source === 'downstream' ? 'deny' : 'error', status_code: status, code });
    throw error;
  }
}

function attemptRecord(terminal: Terminal, change: Change): AuditRecord {
  return {
    ...bareRecord(systemClock.wallMs(), randomUUID(), 'local'),
    method: 'CLI',
    path: change.command,
    stage: 'attempt',
    principal: `cli:${terminal.systemUser}`,
    credential_id: change.target === undefined ? null : maskCredentials(change.target),
  };
}
