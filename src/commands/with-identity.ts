/** Runs a command on the database of users and keys; what it changes is on record before it is done, as over HTTP. */
import { randomUUID } from 'node:crypto';
import { openSink } from '../assemble.ts';
import type { AuditRecord } from '../audit/record.ts';
import { Recorder } from '../audit/recorder.ts';
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { errorKinds, Refusal } from '../errors.ts';
import { type Identity, openIdentity } from '../identity/store.ts';
import { openLog } from '../telemetry/log.ts';
import { Metrics } from '../telemetry/metrics.ts';
import type { Terminal } from './terminal.ts';

/** Opens what the configuration names, runs `work`, closes again. Reads only: nothing is recorded. */
export async function withIdentity<T>(
  terminal: Terminal,
  configPath: string,
  work: (identity: Identity) => Promise<T>,
): Promise<T> {
  const { config } = loadConfig({ path: configPath, env: terminal.env });
  const log = openLog('error');
  const identity = await openIdentity({
    config,
    clock: systemClock,
    onError: (err) => log.warn({ err }, 'identity'),
  });
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
  const { config, digest } = loadConfig({ path: configPath, env: terminal.env });
  const log = openLog('error');
  const metrics = new Metrics(terminal);
  const recorder = new Recorder({
    sink: await openSink(config, metrics, log),
    metrics,
    clock: systemClock,
    log,
    context: { replica: `${terminal.hostname}/${terminal.pid}`, configDigest: digest },
  });
  try {
    return await withIdentity(terminal, configPath, (identity) =>
      recorded(recorder, terminal, change, () => work(identity), idOf),
    );
  } finally {
    await recorder.close();
  }
}

/** Two durable records around `work`; the second says how it ended. */
export async function recorded<T>(
  recorder: Recorder,
  terminal: Terminal,
  change: Change,
  work: () => Promise<T>,
  idOf?: (result: T) => string | undefined,
): Promise<T> {
  const attempt = attemptRecord(terminal, change);
  const startedMs = systemClock.monotonicMs();
  await recorder.recordChange(attempt);
  const complete = (outcome: Partial<AuditRecord>) =>
    recorder.recordChange({
      ...attempt,
      stage: 'complete',
      process_time: (systemClock.monotonicMs() - startedMs) / 1000,
      ...outcome,
    });
  try {
    const result = await work();
    await complete({
      decision: 'allow',
      status_code: 200,
      credential_id: idOf?.(result) ?? attempt.credential_id,
    });
    return result;
  } catch (error) {
    const code = error instanceof Refusal ? error.code : 'internal_error';
    await complete({ decision: 'error', status_code: errorKinds[code].status, code });
    throw error;
  }
}

function attemptRecord(terminal: Terminal, change: Change): AuditRecord {
  const id = randomUUID();
  return {
    timestamp: systemClock.wallMs() / 1000,
    method: 'CLI',
    path: change.command,
    query_params: '',
    client_ip: 'local',
    user_agent: null,
    status_code: null,
    process_time: 0,
    auth_type: 'none',
    content_length: null,
    stage: 'attempt',
    id,
    request_id: id,
    trace_id: null,
    principal: `cli:${terminal.systemUser}`,
    credential_id: change.target ?? null,
    route: null,
    decision: null,
    code: null,
    reason: null,
    upstream_time: null,
    bytes_out: 0,
  };
}
