/** Opens the audit log of a configuration; the gateway does, and the command line, which writes its changes there too. */
import { dirname, join } from 'node:path';
import type { Writable } from 'node:stream';
import type { Clock } from '../clock.ts';
import { databaseLocation } from '../config/database-location.ts';
import type { Config } from '../config/schema.ts';
import { sinkName } from '../config/sink-checks.ts';
import { readTextFile } from '../config/text-file.ts';
import { loadSecrets } from '../credentials/secrets.ts';
import { StartError, startError } from '../start-error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { FileSink, type Rotation } from './file-sink.ts';
import { AuditLog, headerLine, type Tally } from './log.ts';
import { noPseudonyms, Pseudonyms } from './pseudonyms.ts';
import { AuditKeyError, keptSigningKey, type SigningKey, signingKeyOf } from './signing.ts';
import { durableOf, openOutlets, openStdout } from './sinks/open.ts';
import type { Primary } from './sinks/outlet.ts';

export interface AuditOptions {
  readonly config: Config;
  readonly digest: string;
  /** Names this process. */
  readonly replica: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Standard output; of a command, whose output is its own, standard error. */
  readonly stdout: Writable | undefined;
  /** Without them no sink is opened but the one that carries the durability. */
  readonly metrics?: Metrics;
  /** Whether this process makes the file give way to the next one; of several, only the gateway does. */
  readonly rotates: boolean;
  /** Whether other processes write to the file all the time: workers of one gateway. */
  readonly inCompany?: boolean;
}

/** @throws StartError for a file or a key that cannot be used, SecretError for a kept key */
export async function openAudit(options: AuditOptions): Promise<AuditLog> {
  const { config, digest, replica, clock, log, stdout, metrics, inCompany = false } = options;
  const key = auditSigningKey(config);
  const context = { replica, configDigest: digest, pseudonyms: pseudonymsOf(config) };
  const sink = await openSink(options, key);
  if (metrics === undefined) return new AuditLog({ sink, context, key, clock, inCompany });
  let audit: AuditLog | undefined;
  const surroundings = { log, clock, stdout, metrics };
  const outlets = await openOutlets(config, surroundings, (record) => audit?.append(record));
  const tally: Tally = (name, taken) => metrics.auditRecord(name, taken);
  audit = new AuditLog({ sink, context, key, clock, inCompany, tally, outlets });
  return audit;
}

type FileConfig = Extract<Config['audit']['sinks'][number], { type: 'file' }>;

/** The file of the configuration. @throws StartError where there is none */
export function auditFile({ audit }: Config): FileConfig {
  const file = audit.sinks.find((sink) => sink.type === 'file');
  if (file === undefined)
    throw new StartError(
      'audit.sinks names no file: there is none to verify, and none to keep a key beside (set audit.signing_key)',
    );
  return file;
}

/**
 * The key that signs heads: given, or kept beside an embedded database or else beside the log.
 * @throws StartError, SecretError
 */
export function auditSigningKey(config: Config): SigningKey {
  const given = config.audit.signing_key;
  if (given === undefined) return keptSigningKey(beside(config, 'audit-signing.key', '.key'));
  try {
    return signingKeyOf(readTextFile(given));
  } catch (error) {
    const why = error instanceof AuditKeyError ? error.message : 'cannot be read';
    throw startError(`audit.signing_key: ${given} ${why}`, error);
  }
}

function pseudonymsOf(config: Config): Pseudonyms {
  const { pseudonymize, pseudonym_key } = config.audit;
  if (pseudonymize.length === 0) return noPseudonyms;
  const file = beside(config, 'audit-pseudonyms.key', '.pseudonyms.key');
  const [key] = loadSecrets({ option: 'audit.pseudonym_key', given: [pseudonym_key], file });
  return new Pseudonyms(pseudonymize, key);
}

function beside(config: Config, name: string, suffix: string): string {
  const location = databaseLocation(config.database);
  const isEmbedded = location.kind === 'sqlite' && location.path !== ':memory:';
  return isEmbedded ? join(dirname(location.path), name) : `${auditFile(config).path}${suffix}`;
}

async function openSink(options: AuditOptions, key: SigningKey): Promise<Primary> {
  const { config, clock, log, replica, rotates, inCompany, stdout, metrics } = options;
  const durable = durableOf(config);
  const where = durable.type === 'file' ? durable.path : durable.type;
  const onUp = (up: boolean, error: unknown) => {
    metrics?.auditSinkUp(sinkName(durable), up);
    if (up) log.info({ sink: where }, 'the audit log takes records again');
    else log.error({ sink: where, err: error }, 'the audit log cannot be written: requests are refused');
  };
  if (durable.type !== 'file') return openStdout(stdout, onUp);
  const { path, fsync } = durable;
  try {
    return await FileSink.open({
      path,
      fsync,
      header: (header) => headerLine(header, replica, key, clock),
      joined: (file) => headerLine(file, replica, key, clock, 'joined'),
      ...(inCompany && { inCompany }),
      ...(rotates && { rotation: rotationOf(config, clock, log) }),
      onUp,
    });
  } catch (error) {
    throw startError(
      `the audit log ${path} cannot be opened for writing: set AUDIT_LOG_FILE to a path that can`,
      error,
    );
  }
}

function rotationOf(config: Config, clock: Clock, log: Logger): Rotation {
  const { size, age, keep } = auditFile(config).rotate;
  return {
    bytesMax: size,
    ageMsMax: age,
    keep,
    clock,
    onRotated: (file, err) => {
      if (err === undefined) log.info({ file }, 'the audit log has begun its next file');
      else log.error({ file, err }, 'the audit log cannot begin its next file: it goes on in this one');
    },
  };
}
