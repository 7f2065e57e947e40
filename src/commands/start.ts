/** `portcullis start`: the gateway alone. */
import { type RunningGateway, startGateway } from '../assemble.ts';
import { systemClock } from '../clock.ts';
import type { LoadedConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import type { Config } from '../config/schema.ts';
import { ConfigSource } from '../config/source.ts';
import { Reloads } from '../reload.ts';
import { collectStartGarbage } from '../start-garbage.ts';
import { type Logger, openLog } from '../telemetry/log.ts';
import type { Terminal } from './terminal.ts';

/** A program that follows the files of its configuration, in one process or in several. */
export interface FollowingProgram extends Pick<RunningGateway, 'died' | 'reopenLogs' | 'fail' | 'close'> {
  /** Loads the configuration anew, whether it has changed or not. */
  loadAnew(): Promise<void>;
}

/** A gateway in this process. */
export type FollowingGateway = RunningGateway & FollowingProgram;

interface Started {
  readonly gateway: FollowingGateway;
  /** What it started with. */
  readonly config: Config;
  readonly log: Logger;
}

/** @throws ConfigError, StartError */
export async function start(terminal: Terminal, path: string): Promise<FollowingProgram> {
  const source = new ConfigSource(path, terminal.env);
  const loaded = source.load();
  if (loaded.config.workers > 1) {
    // Only then: one process has no use for node:cluster.
    const { startWorkers } = await import('../workers/primary.ts');
    return startWorkers(terminal, source, loaded);
  }
  const { gateway, config, log } = await startFollowing(terminal, source, loaded);
  if (config.endpoints.identity && (await gateway.identity.isEmpty())) {
    log.warn('there is no user yet: run `portcullis setup` to make the first admin and key');
  }
  return gateway;
}

/** @throws ConfigError, StartError */
export async function startFollowing(
  terminal: Terminal,
  source: ConfigSource,
  loaded: LoadedConfig,
): Promise<Started> {
  const log = openLog(loaded.config.log.level);
  for (const warning of loaded.warnings) log.warn({ at: formatProblem(warning) }, 'configuration');
  const gateway = await startGateway(loaded, {
    clock: systemClock,
    log,
    version: terminal.version,
    nodeVersion: terminal.nodeVersion,
    replica: `${terminal.hostname}/${terminal.pid}`,
    stdout: terminal.stdout,
    beforeListening: collectStartGarbage,
  });
  const reloads = new Reloads(source, gateway);
  const following: FollowingGateway = {
    ...gateway,
    loadAnew: () => reloads.now(),
    close: async () => {
      await Promise.all([reloads.close(), gateway.close()]);
    },
  };
  return { gateway: following, config: loaded.config, log };
}
