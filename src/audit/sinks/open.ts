/** Opens the sinks that a configuration names: the one that carries the durability, and the outlets beside it. */
import { randomUUID } from 'node:crypto';
import type { Writable } from 'node:stream';
import type { Clock } from '../../clock.ts';
import type { Config } from '../../config/schema.ts';
import { sinkName } from '../../config/sink-checks.ts';
import type { OutletConfig, RedisStreamSinkConfig } from '../../config/sink-schema.ts';
import { RedisConnections } from '../../redis/connections.ts';
import { parseRedisUrl, RedisUrlError } from '../../redis/url.ts';
import { StartError, startError } from '../../start-error.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { FileSink } from '../file-sink.ts';
import { AuditLog, type Tally } from '../log.ts';
import { type AuditRecord, bareRecord, type RecordContext } from '../record.ts';
import { Backlog } from './backlog.ts';
import { Delivery, type DeliveryEvents, type Receiver } from './delivery.ts';
import { HttpReceiver } from './http.ts';
import type { Outlet, Primary } from './outlet.ts';
import { RedisStreamReceiver } from './redis-stream.ts';
import { Spill } from './spill.ts';
import { StdoutPrimary, StdoutReceiver, writerTo } from './stdout.ts';

interface Surroundings {
  readonly log: Logger;
  readonly clock: Clock;
  /** Standard output; without it no sink may write there. */
  readonly stdout: Writable | undefined;
  readonly metrics: Pick<Metrics, 'auditRecord' | 'auditSinkUp'>;
}

interface SinkSurroundings extends Surroundings {
  /** Of a Redis stream that names no server of its own. */
  readonly defaultRedisUrl: string;
}

export interface Sinks {
  /** Their labels in metrics. */
  readonly names: readonly string[];
  openLog(context: RecordContext): AuditLog;
  /** Opens anew what something else may have moved away. */
  reopen(): void;
}

/** @throws StartError */
export async function openSinks(config: Config, given: Surroundings): Promise<Sinks> {
  const { audit } = config;
  const { metrics } = given;
  const surroundings = { ...given, defaultRedisUrl: config.rate_limits.redis };
  const primaryConfig = durableOf(audit.sinks);
  const onUp = (up: boolean) => metrics.auditSinkUp(primaryConfig.type, up);
  const primary = await openPrimary(primaryConfig, { ...surroundings, onUp });
  let log: AuditLog | undefined;
  const outlets: Outlet[] = [];
  for (const outlet of audit.sinks) {
    if (outlet === primaryConfig || outlet.type === 'file') continue;
    outlets.push(await openOutlet(outlet, surroundings, (record) => log?.append(record)));
  }
  return {
    names: [primary, ...outlets].map(({ name }) => name),
    openLog: (context) => {
      const tally: Tally = (name, taken) => metrics.auditRecord(name, taken);
      log = new AuditLog(primary, context, tally, outlets);
      return log;
    },
    reopen: () => primary.reopen(),
  };
}

type SinkConfig = Config['audit']['sinks'][number];

/** A file where there is one; else standard output, where durable means: handed to the kernel. */
function durableOf(sinks: readonly SinkConfig[]): SinkConfig {
  const found = sinks.find(({ type }) => type === 'file') ?? sinks.find(({ type }) => type === 'stdout');
  if (found === undefined) throw new StartError('audit.sinks has neither a file nor stdout');
  return found;
}

interface PrimarySurroundings extends Pick<Surroundings, 'log' | 'stdout'> {
  readonly onUp?: (up: boolean) => void;
}

/** The sink that the command line writes its changes to. @throws StartError */
export function openPrimaryOf({ audit }: Config, surroundings: PrimarySurroundings): Promise<Primary> {
  return openPrimary(durableOf(audit.sinks), surroundings);
}

async function openPrimary(config: SinkConfig, surroundings: PrimarySurroundings): Promise<Primary> {
  const { log, onUp } = surroundings;
  if (config.type !== 'file') {
    const write = writerTo(requireStdout(surroundings));
    return new StdoutPrimary({ write, onUp: (up, err) => tellPrimary('stdout', up, err) });
  }
  const { path, fsync } = config;
  try {
    return await FileSink.open({ path, fsync, onUp: (up, err) => tellPrimary(path, up, err) });
  } catch (error) {
    throw startError(
      `the audit log ${path} cannot be opened for writing: set AUDIT_LOG_FILE to a path that can`,
      error,
    );
  }

  function tellPrimary(sink: string, up: boolean, err: unknown): void {
    onUp?.(up);
    if (up) log.info({ sink }, 'the audit log takes records again');
    else log.error({ sink, err }, 'the audit log cannot be written: requests are refused');
  }
}

async function openOutlet(
  config: OutletConfig,
  surroundings: SinkSurroundings,
  append: (record: AuditRecord) => void,
): Promise<Outlet> {
  const name = sinkName(config);
  const spill = 'spill' in config ? await openSpill(name, config.spill, surroundings) : undefined;
  return new Delivery({
    name,
    receiver: receiverOf(config, surroundings),
    backlog: new Backlog(config.buffer, spill),
    ...batchOf(config),
    events: eventsOf(name, surroundings, append),
    random: Math.random,
  });
}

async function openSpill(
  name: string,
  config: { path: string; max_size: number } | undefined,
  { log }: SinkSurroundings,
): Promise<Spill | undefined> {
  if (config === undefined) return undefined;
  const { path, max_size: bytesMax } = config;
  try {
    const onTrouble = (err: unknown) =>
      log.error({ sink: name, path, err }, 'the folder of an audit sink is in trouble');
    return await Spill.open({ path, bytesMax, onTrouble });
  } catch (error) {
    throw startError(`the folder ${path} of the audit sink ${name} cannot be used`, error);
  }
}

function receiverOf(config: OutletConfig, surroundings: SinkSurroundings): Receiver {
  switch (config.type) {
    case 'stdout':
      return new StdoutReceiver(writerTo(requireStdout(surroundings)));
    case 'http':
      return new HttpReceiver({
        url: config.url,
        token: config.token,
        tokenFile: config.token_file,
        tls: config.tls,
        timeoutMs: config.timeout,
      });
    case 'redis_stream': {
      const redis = redisOf(config, surroundings);
      const client = redis.client(`audit-${sinkName(config)}`, () => undefined);
      return new RedisStreamReceiver(client, () => redis.close(), config.stream, config.max_length);
    }
  }
}

/** A connection of its own: what waits behind a batch of records must not be a caller's bucket. */
function redisOf(
  config: RedisStreamSinkConfig,
  { defaultRedisUrl }: Pick<SinkSurroundings, 'defaultRedisUrl'>,
): RedisConnections {
  try {
    return new RedisConnections(parseRedisUrl(config.url || defaultRedisUrl));
  } catch (error) {
    if (error instanceof RedisUrlError)
      throw new StartError(`the audit sink ${sinkName(config)}: ${error.message}`);
    throw error;
  }
}

/** Small and soon, unless the receiver is asked in larger pieces. */
const defaultBatch = { batchBytes: 256 * 1024, batchMs: 100 };

function batchOf(config: OutletConfig): { batchBytes: number; batchMs: number } {
  if (config.type !== 'http') return defaultBatch;
  return { batchBytes: config.batch.max_size, batchMs: config.batch.max_time };
}

function eventsOf(
  name: string,
  { log, clock, metrics }: SinkSurroundings,
  append: (record: AuditRecord) => void,
): DeliveryEvents {
  return {
    onUp: (up, err) => {
      metrics.auditSinkUp(name, up);
      if (up) log.info({ sink: name }, 'the audit sink takes records again');
      else log.warn({ sink: name, err }, 'the audit sink takes no records; requests go on');
    },
    onDelivered: (count) => metrics.auditRecord(name, true, count),
    onDropped: (count) => metrics.auditRecord(name, false, count),
    tellDropped: (count) => append(droppedRecord(clock, name, count)),
  };
}

/** No request: what an outlet has lost, and how many of them. */
function droppedRecord(clock: Clock, sink: string, count: number): AuditRecord {
  return {
    ...bareRecord(clock.wallMs(), randomUUID(), 'local'),
    method: 'AUDIT',
    path: `sink ${sink}`,
    query_params: `dropped=${count}`,
    decision: 'error',
    code: 'audit_dropped',
  };
}

function requireStdout({ stdout }: Pick<SinkSurroundings, 'stdout'>): Writable {
  if (stdout !== undefined) return stdout;
  throw new StartError('this program has no standard output for the audit log');
}
