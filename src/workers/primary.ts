/**
 * `portcullis start` with several workers. The primary serves no client: it deals connections out, owns what must be
 * one (the lock of the database, the buckets where there is no Redis, the operations port), and sees to its workers.
 */
import { fileURLToPath } from 'node:url';
import type { JWK } from 'jose';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { systemClock } from '../clock.ts';
import type { FollowingProgram } from '../commands/start.ts';
import type { Terminal } from '../commands/terminal.ts';
import type { LoadedConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import type { ConfigSource } from '../config/source.ts';
import { lockDatabase, lostSentence } from '../database-lock.ts';
import { openOperations } from '../operations.ts';
import { Reloads } from '../reload.ts';
import { collectStartGarbage } from '../start-garbage.ts';
import { openLog } from '../telemetry/log.ts';
import { misnamedDefaults } from '../telemetry/metrics.ts';
import { aggregate, expose } from './aggregation.ts';
import { BucketOwner } from './bucket-owner.ts';
import { Crew } from './crew.ts';
import type { ToPrimary, ToWorker } from './messages.ts';

const launcher = fileURLToPath(new URL('../portcullis.cjs', import.meta.url));

/** @throws StartError with the words of the worker that could not start */
export async function startWorkers(
  terminal: Terminal,
  source: ConfigSource,
  loaded: LoadedConfig,
): Promise<FollowingProgram> {
  const opened = new AsyncDisposableStack();
  try {
    return await open(terminal, source, loaded, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function open(
  { stdout }: Terminal,
  source: ConfigSource,
  loaded: LoadedConfig,
  opened: AsyncDisposableStack,
): Promise<FollowingProgram> {
  const { config } = loaded;
  const log = openLog(config.log.level);
  const warn = (of: LoadedConfig) => {
    for (const warning of of.warnings) log.warn({ at: formatProblem(warning) }, 'configuration');
  };
  warn(loaded);
  const lock = opened.adopt(await lockDatabase(config, log), (held) => held.release());
  const metrics = new PrimaryMetrics(config.workers, () => crew.listening);
  const answerer = new Answerer(new BucketOwner(systemClock), stdout);
  const crew: Crew = new Crew(loaded, {
    program: { path: launcher, args: ['worker'] },
    log,
    onMessage: (...of) => answerer.take(...of),
    onDied: () => metrics.workerDied(),
  });
  const hasExemplars = config.tracing.endpoint !== '';
  const operations = await openOperations(config, opened, {
    metrics: {
      exposition: async (accept) => {
        const told = await crew.metrics();
        return expose(aggregate(told, crew.gone, await metrics.told()), accept, hasExemplars);
      },
    },
    isReady: () => isReady && crew.isServing,
    jwks: () => keysOf(crew),
  });
  let isReady = false;
  opened.defer(() => crew.close());
  collectStartGarbage();
  const { traffic, hasUsers } = await crew.start();
  const reloads = new Reloads(source, {
    reload: async (next) => {
      await crew.reload(next);
      metrics.configLoaded();
      if (next.config.log.level !== log.level) log.level = next.config.log.level;
      log.info(
        { config_digest: next.digest, workers: config.workers },
        'the workers have taken the configuration',
      );
      warn(next);
    },
    refused: (reasons) => {
      metrics.configRefused();
      if (!crew.tellOne({ kind: 'refused', reasons }))
        log.error({ reasons }, 'the configuration was not taken');
    },
  });
  isReady = true;
  log.info(
    { traffic, operations, workers: config.workers, config_digest: loaded.digest },
    'portcullis is listening',
  );
  if (config.endpoints.identity && !hasUsers)
    log.warn('there is no user yet: run `portcullis setup` to make the first admin and key');
  return {
    died: lock.lost.then(() => lostSentence),
    loadAnew: () => reloads.now(),
    reopenLogs: () => crew.tellAll({ kind: 'reopen' }),
    fail: (err) => log.fatal({ err }, 'state is in doubt: portcullis ends, and its workers with it'),
    close: async () => {
      isReady = false;
      await reloads.close();
      await opened.disposeAsync();
      log.info('portcullis has stopped');
    },
  };
}

/** One key may be new to some of them: a verifier gets to know all. */
async function keysOf(crew: Crew): Promise<JWK[]> {
  const keys = new Map<string, JWK>();
  for (const { answer } of await crew.askAll('jwks', undefined))
    for (const key of answer) keys.set(JSON.stringify(key), key);
  return [...keys.values()];
}

/** Does what workers ask for. */
class Answerer {
  readonly #owner: BucketOwner;
  readonly #stdout: NodeJS.WritableStream;

  constructor(owner: BucketOwner, stdout: NodeJS.WritableStream) {
    this.#owner = owner;
    this.#stdout = stdout;
  }

  take(message: ToPrimary, reply: (message: ToWorker) => void, tellAll: (message: ToWorker) => void): void {
    const owner = this.#owner;
    switch (message.kind) {
      case 'take':
        reply({ kind: 'taken', batch: message.batch, answers: owner.take(message.items) });
        break;
      case 'failed': {
        const { bucketClass, partition } = message;
        const debtTicks = owner.failed(bucketClass, partition);
        tellAll({ kind: 'failures', bucketClass, partition, debtTicks });
        break;
      }
      case 'exhaust':
        reply({
          kind: 'exhausted',
          id: message.id,
          isEmpty: owner.exhaust(message.bucketClass, message.partition),
        });
        break;
      case 'forget':
        owner.forget(message.bucketClass, message.partition);
        break;
      case 'write':
        this.#stdout.write(message.text, (error) => {
          reply({ kind: 'written', id: message.id, error: error?.message });
        });
        break;
      default:
    }
  }
}

/** What only the primary knows. */
class PrimaryMetrics {
  readonly #registry = new Registry();
  readonly #restarts: Counter;
  readonly #reloadOk: Gauge;
  readonly #reloadSeconds: Gauge;

  constructor(workers: number, listening: () => number) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    for (const name of misnamedDefaults) this.#registry.removeSingleMetric(name);
    new Gauge({ name: 'portcullis_workers', help: 'Worker processes there should be.', registers }).set(
      workers,
    );
    new Gauge({
      name: 'portcullis_workers_listening',
      help: 'Worker processes that take connections.',
      registers,
      collect() {
        this.set(listening());
      },
    });
    this.#restarts = new Counter({
      name: 'portcullis_worker_restarts_total',
      help: 'Worker processes that have ended by themselves and were started again.',
      registers,
    });
    this.#reloadOk = new Gauge({
      name: 'portcullis_config_last_reload_successful',
      help: 'Whether the last configuration was taken.',
      registers,
    });
    this.#reloadSeconds = new Gauge({
      name: 'portcullis_config_last_reload_success_timestamp_seconds',
      help: 'When a configuration was last taken.',
      registers,
    });
    this.configLoaded();
  }

  workerDied(): void {
    this.#restarts.inc();
  }

  configLoaded(): void {
    this.#reloadOk.set(1);
    this.#reloadSeconds.set(Math.floor(systemClock.wallMs() / 1000));
  }

  configRefused(): void {
    this.#reloadOk.set(0);
  }

  told() {
    return this.#registry.getMetricsAsJSON();
  }
}
