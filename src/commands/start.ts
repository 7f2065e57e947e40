/** `portcullis start`: the gateway alone. */
import { type RunningGateway, startGateway } from '../assemble.ts';
import { systemClock } from '../clock.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import { openLog } from '../telemetry/log.ts';
import type { Terminal } from './terminal.ts';

/** @throws ConfigError, StartError */
export async function start(terminal: Terminal, path: string): Promise<RunningGateway> {
  const loaded = loadConfig({ path, env: terminal.env });
  const gateway = await startLoaded(terminal, loaded);
  if (loaded.config.endpoints.identity && (await gateway.identity.isEmpty())) {
    openLog(loaded.config.log.level).warn(
      'there is no user yet: run `portcullis setup` to make the first admin and key',
    );
  }
  return gateway;
}

export async function startLoaded(terminal: Terminal, loaded: LoadedConfig): Promise<RunningGateway> {
  const log = openLog(loaded.config.log.level);
  for (const warning of loaded.warnings) log.warn({ at: formatProblem(warning) }, 'configuration');
  return startGateway(loaded, {
    clock: systemClock,
    log,
    version: terminal.version,
    nodeVersion: terminal.nodeVersion,
    replica: `${terminal.hostname}/${terminal.pid}`,
    stdout: terminal.stdout,
  });
}
