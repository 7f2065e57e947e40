/** Servers on their addresses: opened with a sentence for what is in the way, and closed in order. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import { shutdownGraceMs } from './limits.ts';
import { startError } from './start-error.ts';

/**
 * @param key where the address stands in gateway.yaml
 * @returns where it listens, such as `http://127.0.0.1:8000`
 * @throws StartError
 */
export async function listen(
  server: Server,
  { host, port }: { host: string; port: number },
  key: string,
): Promise<string> {
  server.listen({ host, port, exclusive: true });
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

/** No new connection, idle ones closed, busy ones given the grace time. */
export async function drain(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // A busy connection becomes an idle one when its request is done.
  const sweep = setInterval(() => server.closeIdleConnections(), sweepMs);
  const cut = setTimeout(() => server.closeAllConnections(), shutdownGraceMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(cut);
}

/** How often a draining server looks for connections that have become idle. */
const sweepMs = 50;

/** The operations port answers until traffic has drained, and has nothing to finish. */
export async function closeAtOnce(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
