/** Opens the sinks that a configuration names: the one that carries the durability, and the outlets beside it. */
import { randomUUID } from 'node:crypto';
import type { Writable } from 'node:stream';
import type { Clock } from '../../clock.ts';
import type { Config } from '../../config/schema.ts';
import { sinkName } from '../../config/sink-checks.ts';
import type { OutletConfig, RedisStreamSinkConfig } from '../../config/sink-schema.ts';
import type { RedisConnections } from '../../redis/connections.ts';
import { parseRedisUrl, RedisUrlError } from '../../redis/url.ts';
import { StartError, startError } from '../../start-error.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import { type EventRecord, eventRecord } from '../record.ts';
import { Backlog } from './backlog.ts';
import { Delivery, type DeliveryEvents, type Receiver } from './delivery.ts';
import { HttpReceiver } from './http.ts';
import type { Outlet } from './outlet.ts';
import { RedisStreamReceiver } from './redis-stream.ts';
import { Spill } from './spill.ts';
import { StdoutPrimary, StdoutReceiver, writerTo } from './stdout.ts';

export interface Surroundings {
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

type SinkConfig = Config['audit']['sinks'][number];

/** A file where there is one; else standard output, where durable means: handed to the kernel. */
export function durableOf({ audit: { sinks } }: Config): SinkConfig {
  const found = sinks.find(({ type }) => type === 'file') ?? sinks.find(({ type }) => type === 'stdout');
  if (found === undefined) throw new StartError('audit.sinks has neither a file nor stdout');
  return found;
}

/** Standard output in place of a file. @throws StartError */
export function openStdout(
  stdout: Writable | undefined,
  onUp: (up: boolean, error: unknown) => void,
): StdoutPrimary {
  return new StdoutPrimary({ write: writerTo(requireStdout({ stdout })), onUp });
}

/**
 * The sinks beside the one that carries the durability.
 * @param append takes the records of what they lose
 * @throws StartError
 */
export async function openOutlets(
  config: Config,
  given: Surroundings,
  append: (record: EventRecord) => void,
): Promise<Outlet[]> {
  const surroundings = { ...given, defaultRedisUrl: config.rate_limits.redis };
  const durable = durableOf(config);
  const outlets: Outlet[] = [];
  for (const outlet of config.audit.sinks) {
    if (outlet === durable || outlet.type === 'file') continue;
    outlets.push(await openOutlet(outlet, surroundings, append));
  }
  return outlets;
}

async function openOutlet(
  config: OutletConfig,
  surroundings: SinkSurroundings,
  append: (record: EventRecord) => void,
): Promise<Outlet> {
  const name = sinkName(config);
  const spill = 'spill' in config ? await openSpill(name, config.spill, surroundings) : undefined;
  return new Delivery({
    name,
    receiver: await receiverOf(config, surroundings),
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

async function receiverOf(config: OutletConfig, surroundings: SinkSurroundings): Promise<Receiver> {
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
      const redis = await redisOf(config, surroundings);
      const client = redis.client(`audit-${sinkName(config)}`, () => undefined);
      return new RedisStreamReceiver(client, () => redis.close(), config.stream, config.max_length);
    }
  }
}

/** A connection of its own: what waits behind a batch of records must not be a caller's bucket. */
async function redisOf(
  config: RedisStreamSinkConfig,
  { defaultRedisUrl }: Pick<SinkSurroundings, 'defaultRedisUrl'>,
): Promise<RedisConnections> {
  const { RedisConnections } = await import('../../redis/connections.ts');
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
  append: (record: EventRecord) => void,
): DeliveryEvents {
  return {
    onUp: (up, err) => {
      metrics.auditSinkUp(name, up);
      if (up) log.info({ sink: name }, 'the audit sink takes records again');
      else log.warn({ sink: name, err }, 'the audit sink takes no records; requests go on');
    },
    onDelivered: (count) => metrics.auditRecord(name, true, count),
    onDropped: (count) => metrics.auditRecord(name, false, count),
    tellDropped: (count) =>
      append(eventRecord(clock.wallMs(), randomUUID(), 'sink_dropped', `${name}: ${count}`)),
  };
}

function requireStdout({ stdout }: Pick<SinkSurroundings, 'stdout'>): Writable {
  if (stdout !== undefined) return stdout;
  throw new StartError('this program has no standard output for the audit log');
}
