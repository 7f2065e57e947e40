/** Where the registry listens: on loopback or a Unix socket, since it speaks plain HTTP to one caller, its gateway. */
import { chmod, lstat, unlink } from 'node:fs/promises';
import type { Server } from 'node:http';
import { BlockList, connect, isIP } from 'node:net';

/** Why the registry cannot start, as one sentence or two for whoever started it: what, where, what to do. */
export class StartError extends Error {}

export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** `sun_path` of the smallest system we run on (macOS), without its closing NUL. */
const socketPathBytesMax = 103;

/** Members of the group may connect: that is how a gateway under another user gets in. */
const socketMode = 0o660;

const forms = 'write 127.0.0.1:8081, [::1]:8081, localhost:8081 or unix:/path/to/registry.sock';

/**
 * Reads `127.0.0.1:8081`, `[::1]:8081`, `localhost:8081` or `unix:/path`. Port 0 is any free port.
 * @throws StartError for every other form
 */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:')) return unixAddress(text.slice('unix:'.length));
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^:[\]]+)):(?<port>\d{1,5})$/.exec(text);
  const { v6, v4, port } = match?.groups ?? {};
  // Not looked up: RFC 6761 §6.3 says what it means, whatever the hosts file says.
  const host = v4 === 'localhost' ? '127.0.0.1' : (v6 ?? v4 ?? '');
  if (isIP(host) === (v6 === undefined ? 4 : 6) && Number(port) <= 65_535) {
    return { kind: 'tcp', host, port: Number(port) };
  }
  throw new StartError(`REGISTRY_LISTEN is ${JSON.stringify(text)}, which is no address: ${forms}.`);
}

function unixAddress(path: string): Address {
  const isPath = path !== '' && !path.includes('\0') && Buffer.byteLength(path) <= socketPathBytesMax;
  if (isPath) return { kind: 'unix', path };
  throw new StartError(
    `REGISTRY_LISTEN names a socket at ${JSON.stringify(path)}: write a path of 1 to ${socketPathBytesMax} bytes.`,
  );
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/**
 * @param allowNonLoopback whoever runs this has said that something else keeps strangers away
 * @throws StartError when others than this machine could connect
 */
export function refuseNonLoopback(address: Address, allowNonLoopback: boolean): void {
  if (allowNonLoopback || address.kind === 'unix') return;
  if (loopback.check(address.host, isIP(address.host) === 6 ? 'ipv6' : 'ipv4')) return;
  throw new StartError(
    `REGISTRY_LISTEN is ${shown(address)}, which other machines can reach over plain HTTP, and the ` +
      `registry has no users of its own: write 127.0.0.1:${address.port} or unix:/path/to/registry.sock and let the gateway in ` +
      'front of it, or set REGISTRY_ALLOW_NON_LOOPBACK=yes-i-know-the-registry-has-no-authentication-of-its-own.',
  );
}

/**
 * Starts listening.
 * @returns the URL for a gateway's `upstreams`: `http://127.0.0.1:8081` or `unix:/path`
 * @throws StartError when the address is taken or not to be had
 */
export async function listen(server: Server, address: Address): Promise<string> {
  if (address.kind === 'unix') await removeStaleSocket(address.path);
  await listening(server, address);
  if (address.kind === 'unix') await chmod(address.path, socketMode);
  return urlOf(server, address);
}

function listening(server: Server, address: Address): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const refuse = (error: NodeJS.ErrnoException) => reject(listenError(error, address));
  server.once('error', refuse);
  const where = address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port };
  server.listen(where, () => {
    server.off('error', refuse);
    resolve();
  });
  return promise;
}

/** What a crashed registry left behind. A socket that somebody answers on, or a file of another kind, stays. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new StartError(
      `REGISTRY_LISTEN names ${path}, which is there and is not a socket: move it or write another path.`,
    );
  }
  if (await isAnswered(path)) throw takenError({ kind: 'unix', path });
  await unlink(path);
}

/** Anything but a refused connection counts as an answer: a socket that may be in use is not taken away. */
function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(path);
  socket.once('connect', () => {
    socket.destroy();
    resolve(true);
  });
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  return promise;
}

function listenError(error: NodeJS.ErrnoException, address: Address): StartError {
  if (error.code === 'EADDRINUSE') return takenError(address);
  return new StartError(
    `The registry cannot listen on ${shown(address)} (${error.code}): set REGISTRY_LISTEN to an address of this ` +
      'machine that this user may use.',
    { cause: error },
  );
}

function takenError(address: Address): StartError {
  return new StartError(
    `${shown(address)} is in use: stop what listens there, or set REGISTRY_LISTEN to another address.`,
  );
}

function shown(address: Address): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `${bracketed(address.host)}:${address.port}`;
}

function urlOf(server: Server, address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  return `http://${bracketed(address.host)}:${port}`;
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
