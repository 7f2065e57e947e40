/** The real registry in this process, on a free port and a database of its own. */
import { join } from 'node:path';
import { startRegistry } from '../../registry/start.ts';
import { openLog } from '../../src/telemetry/log.ts';

export function startTestRegistry(directory: string) {
  return startRegistry({
    databaseUrl: `sqlite:${join(directory, 'registry.db')}`,
    listen: '127.0.0.1:0',
    allowNonLoopback: false,
    log: openLog('silent'),
    wallMs: Date.now,
  });
}
