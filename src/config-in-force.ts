/** Which configuration is in force, and the change from one to the next. */
import { isDeepStrictEqual } from 'node:util';
import type { Recorder } from './audit/recorder.ts';
import type { Clock } from './clock.ts';
import type { LoadedConfig } from './config/load.ts';
import { formatProblem } from './config/problem.ts';
import { changesThatNeedRestart } from './config/restart-only.ts';
import type { Config } from './config/schema.ts';
import type { Counting } from './counting.ts';
import type { VerifiedCredentials } from './credentials/verified.ts';
import type { DownstreamTls } from './downstream.ts';
import type { Generation, Generations } from './generations.ts';
import { type Reloadable, ReloadError } from './reload.ts';
import type { Logger } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface ConfigInForceDeps {
  readonly first: LoadedConfig;
  readonly generations: Generations;
  /** @throws what keeps the configuration from being used; nothing is left open then */
  readonly openGeneration: (config: Config) => Promise<Generation>;
  readonly tls: DownstreamTls | undefined;
  readonly verified: VerifiedCredentials;
  readonly counting: Counting;
  readonly recorder: Recorder;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A configuration that could be put in force. */
export interface PreparedConfig {
  /** Puts it in force, whole or not at all. */
  commit(): void;
  /** Closes what was opened for it. */
  abandon(): Promise<void>;
}

export class ConfigInForce implements Reloadable {
  readonly #deps: ConfigInForceDeps;
  #loaded: LoadedConfig;

  constructor(deps: ConfigInForceDeps) {
    this.#deps = deps;
    this.#loaded = deps.first;
    deps.metrics.configLoaded(Math.floor(deps.clock.wallMs() / 1000));
  }

  async reload(loaded: LoadedConfig): Promise<void> {
    const prepared = await this.prepare(loaded);
    try {
      prepared.commit();
    } catch (error) {
      await prepared.abandon();
      throw error;
    }
  }

  /** Opens all that a configuration needs; the one before stays in force. @throws ReloadError, StartError */
  async prepare(loaded: LoadedConfig): Promise<PreparedConfig> {
    requireNoRestart(this.#loaded.config, loaded.config);
    const next = await this.#deps.openGeneration(loaded.config);
    return { commit: () => this.#commit(loaded, next), abandon: () => next.close() };
  }

  #commit(loaded: LoadedConfig, next: Generation): void {
    const { generations, tls, verified, counting } = this.#deps;
    const { config } = loaded;
    // The last that can fail: after it there is no way back, and none is needed.
    if (config.listen.tls !== undefined) tls?.identity.follow(config.listen.tls);
    if (!isDeepStrictEqual(config.auth.issuers, this.#loaded.config.auth.issuers)) verified.forgetExternal();
    counting.configured(config);
    generations.swap(next);
    this.#tell(loaded);
    this.#loaded = loaded;
  }

  refused(reasons: readonly string[]): void {
    const { recorder, metrics, log } = this.#deps;
    recorder.event('reload_refused');
    metrics.configRefused();
    log.error(
      { reasons, config_digest: this.#loaded.digest },
      'the configuration was not taken: the one before stays in force',
    );
  }

  #tell({ config, digest, warnings }: LoadedConfig): void {
    const { recorder, metrics, clock, log } = this.#deps;
    recorder.reloaded(digest);
    metrics.prepareClasses(Object.keys(config.rate_limits.classes));
    metrics.configLoaded(Math.floor(clock.wallMs() / 1000));
    if (config.log.level !== this.#loaded.config.log.level) log.level = config.log.level;
    log.info({ config_digest: digest, before: this.#loaded.digest }, 'the configuration was taken');
    for (const warning of warnings) log.warn({ at: formatProblem(warning) }, 'configuration');
  }
}

/** @throws ReloadError */
export function requireNoRestart(before: Config, after: Config): void {
  const paths = changesThatNeedRestart(before, after);
  if (paths.length === 0) return;
  throw new ReloadError(
    paths.map(
      (path) => `${path} cannot change while the gateway runs: restart it, or write what was there before`,
    ),
  );
}
