/** Opens what counts requests: this process's memory, or the Redis that all gateways share. */

import type { Recorder } from './audit/recorder.ts';
import { Away } from './bucket/away.ts';
import type { Buckets } from './bucket/buckets.ts';
import { MemoryBuckets } from './bucket/memory.ts';
import { RedisBuckets } from './bucket/redis.ts';
import type { Clock } from './clock.ts';
import type { WhenRedisIsAway } from './config/redis-schema.ts';
import type { Config } from './config/schema.ts';
import type { RedisClient } from './redis/connection.ts';
import type { RedisConnections } from './redis/connections.ts';
import type { RedisFault } from './redis/fault.ts';
import type { Logger } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface Counting {
  readonly buckets: Buckets;
  /** Another configuration is in force. */
  configured(config: Config): void;
  close(): Promise<void>;
}

/** How long a start waits for Redis, so that its first requests are counted there; it goes on without it. */
const startWaitMs = 1_000;
/** Redis may come and go often: of that, the log has a line in so long at most. */
const logIntervalMs = 5_000;

interface CountingDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Told when Redis is lost, and when it is found again. */
  readonly recorder: Pick<Recorder, 'event'>;
  /** Where requests are counted without a Redis; in this process's memory unless given. */
  readonly owned?: Buckets | undefined;
}

/** Never fails for a Redis that is away. */
export async function openCounting(
  config: Config,
  redis: RedisConnections | undefined,
  { clock, log, metrics, recorder, owned }: CountingDeps,
): Promise<Counting> {
  if (redis === undefined)
    return { buckets: owned ?? new MemoryBuckets(clock), configured: () => {}, close: async () => {} };
  const { rate_limits } = config;
  const { promise: isKnown, resolve: known } = Promise.withResolvers<void>();
  const reports = new StoreReports(log, metrics, recorder);
  const client: RedisClient = redis.client('limits', (isUp, fault) => {
    buckets.connected(isUp, fault);
    if (isUp) return;
    reports.store(false, fault);
    known();
  });
  const policies = new Map<string, WhenRedisIsAway>();
  const configured = ({ rate_limits: { classes } }: Config) => {
    policies.clear();
    for (const [name, { whenRedisIsAway }] of Object.entries(classes)) policies.set(name, whenRedisIsAway);
  };
  configured(config);
  const buckets = new RedisBuckets({
    sender: client,
    isCluster: redis.topology === 'cluster',
    clock,
    away: new Away({
      clock,
      replicas: rate_limits.replicas,
      policies,
    }),
    deadlineMs: rate_limits.deadline,
    onTurn: (isUp, fault) => {
      reports.store(isUp, fault);
      if (isUp) known();
    },
  });
  await Promise.race([isKnown, new Promise((resolve) => setTimeout(resolve, startWaitMs))]);
  reports.begin();
  return {
    buckets,
    configured,
    close: () => {
      reports.end();
      return buckets.close();
    },
  };
}

/** The metric at once, the log and the audit log in moderation: what has changed since its last line, once that is old enough. */
class StoreReports {
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #recorder: CountingDeps['recorder'];
  #isUp = false;
  #fault: RedisFault | undefined;
  #loggedUp: boolean | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isBegun = false;

  constructor(log: Logger, metrics: Metrics, recorder: CountingDeps['recorder']) {
    this.#log = log;
    this.#metrics = metrics;
    this.#recorder = recorder;
  }

  store(isUp: boolean, fault: RedisFault | undefined): void {
    this.#isUp = isUp;
    this.#fault = fault;
    this.#metrics.rateLimitStoreUp(isUp);
    if (this.#isBegun && this.#timer === undefined) this.#tell();
  }

  /** The first state is told once it is known. */
  begin(): void {
    this.#isBegun = true;
    this.#tell();
  }

  end(): void {
    this.#isBegun = false;
    clearTimeout(this.#timer);
  }

  #tell(): void {
    this.#timer = undefined;
    if (this.#isUp === this.#loggedUp) return;
    // Nothing is found that was never lost.
    if (this.#isUp && this.#loggedUp === false) this.#recorder.event('redis_found');
    this.#loggedUp = this.#isUp;
    if (this.#isUp) this.#log.info('rate limits are counted in Redis');
    else {
      const fault = this.#fault?.message;
      this.#recorder.event('redis_lost', fault);
      this.#log.warn({ fault }, 'Redis does not answer: when_redis_is_away decides for each class');
    }
    this.#timer = setTimeout(() => this.#tell(), logIntervalMs);
    this.#timer.unref();
  }
}
