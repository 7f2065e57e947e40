/** `portcullis start`: the gateway alone. */
import { type RunningGateway, startGateway } from '../assemble.ts';
import { systemClock } from '../clock.ts';
import { formatProblem } from '../config/problem.ts';
import type { Config } from '../config/schema.ts';
import { ConfigSource } from '../config/source.ts';
import type { Environment } from '../config/variables.ts';
import { Reloads } from '../reload.ts';
import { collectStartGarbage } from '../start-garbage.ts';
import { type Logger, openLog } from '../telemetry/log.ts';
import type { Terminal } from './terminal.ts';

/** A gateway that follows the files of its configuration. */
export interface FollowingGateway extends RunningGateway {
  /** Loads the configuration anew, whether it has changed or not. */
  loadAnew(): Promise<void>;
}

interface Started {
  readonly gateway: FollowingGateway;
  /** What it started with. */
  readonly config: Config;
  readonly log: Logger;
}

/** @throws ConfigError, StartError */
export async function start(terminal: Terminal, path: string): Promise<FollowingGateway> {
  const { gateway, config, log } = await startFollowing(terminal, path, terminal.env);
  if (config.endpoints.identity && (await gateway.identity.isEmpty())) {
    log.warn('there is no user yet: run `portcullis setup` to make the first admin and key');
  }
  return gateway;
}

/** @throws ConfigError, StartError */
export async function startFollowing(terminal: Terminal, path: string, env: Environment): Promise<Started> {
  const source = new ConfigSource(path, env);
  const loaded = source.load();
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
