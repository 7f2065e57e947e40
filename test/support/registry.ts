/** The real registry in this process, on a free port and a database of its own. */
import { join } from 'node:path';
import { urlSource } from '../../registry/key-source.ts';
import { type Registry, startRegistry } from '../../registry/start.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import { openLog } from '../../src/telemetry/log.ts';

export interface TestRegistry extends Registry {
  /** Names the gateway whose assertions it takes; until then all is 503. */
  trust(gateway: { readonly operationsUrl: string }): void;
}

/** @param clock the gateway's, where a test moves that */
export async function startTestRegistry(
  directory: string,
  clock: Clock = systemClock,
): Promise<TestRegistry> {
  const { promise: named, resolve } = Promise.withResolvers<string>();
  const registry = await startRegistry({
    databaseUrl: `sqlite:${join(directory, 'registry.db')}`,
    listen: '127.0.0.1:0',
    allowNonLoopback: false,
    log: openLog('silent'),
    wallMs: () => clock.wallMs(),
    assertions: {
      issuer: 'portcullis',
      audience: 'registry',
      source: async () => await urlSource(await named)(),
    },
  });
  const trust: TestRegistry['trust'] = ({ operationsUrl }) =>
    resolve(`${operationsUrl}/.well-known/jwks.json`);
  return { ...registry, trust };
}
