/** Servers on their addresses: opened with a sentence for what is in the way, and closed in order. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, isIPv6, Server as NetServer } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { startError } from './start-error.ts';

/**
 * @param key where the address stands in gateway.yaml
 * @param sharing `workers`: the processes that one primary has forked listen there together
 * @returns where it listens, such as `http://127.0.0.1:8000`
 * @throws StartError
 */
export async function listen(
  server: Server,
  { host, port }: { host: string; port: number },
  key: string,
  sharing: 'alone' | 'workers' = 'alone',
): Promise<string> {
  server.listen({ host, port, exclusive: sharing === 'alone' });
  try {
    await once(server, 'listening');
  } catch (error) {
    const prefix = key === 'listen' ? '' : 'OPERATIONS_';
    const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    const advice = isTaken
      ? `something listens there already, another Portcullis perhaps: set ${prefix}PORT to a free port`
      : `set ${key === 'listen' ? 'LISTEN_HOST' : 'OPERATIONS_HOST'} to an address of this machine, and ${prefix}PORT to a port it may use`;
    throw startError(`cannot listen on ${host}:${port} (${key} in gateway.yaml): ${advice}`, error);
  }
  const address = server.address() as AddressInfo;
  const scheme = server instanceof TlsServer ? 'https' : 'http';
  return `${scheme}://${isIPv6(address.address) ? `[${address.address}]` : address.address}:${address.port}`;
}

/** Milliseconds. */
export interface DrainTimes {
  readonly idleMs: number;
  readonly graceMs: number;
}

/**
 * No new connection. Busy ones end with their answer, which says so; for an unused one a request may be on its way that
 * a close would lose, and so it is closed only after it has been silent for a while. What is left is cut off in the end.
 */
export async function drain(server: Server, { idleMs, graceMs }: DrainTimes): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    // Not http.Server's own, which closes unused connections at once and watches no time any more.
    NetServer.prototype.close.call(server, () => resolve());
  });
  let sweep: NodeJS.Timeout | undefined;
  const patience = setTimeout(() => {
    // Behind what has just been received, which makes a connection busy.
    sweep = setInterval(() => setImmediate(() => server.closeIdleConnections()), sweepMs);
  }, idleMs);
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearTimeout(patience);
  clearInterval(sweep);
  clearTimeout(cut);
  // Its interval goes with it.
  server.close(() => undefined);
}

/** How often a draining server looks for connections that have become idle. */
const sweepMs = 50;

/** The operations port answers until traffic has drained, and has nothing to finish. */
export async function closeAtOnce(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
