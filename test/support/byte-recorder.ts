/** An upstream that is no HTTP server: it keeps every byte it is sent and answers what it is told to. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface ByteRecorder {
  readonly url: string;
  /** Every byte of every connection so far, in latin1. */
  bytes(): string;
  connections(): number;
  /** The same bytes, connection by connection, in the order in which they were opened. */
  byConnection(): string[];
  /** Of the connections so far, how many the gateway has closed. */
  closedConnections(): number;
  /** Forgets what came so far; a connection that is still open counts again once it carries something. */
  reset(): void;
  close(): Promise<void>;
}

const okay = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok';

/** @param respond called with each chunk; answers 200 once a head is complete unless given */
export async function startByteRecorder(
  respond: (socket: Socket, chunk: string) => void = (socket, chunk) => {
    if (chunk.includes('\r\n\r\n')) socket.write(okay);
  },
): Promise<ByteRecorder> {
  const sockets = new Set<Socket>();
  let received = '';
  let closed = 0;
  let seen: Array<{ bytes: string }> = [];
  const server = createServer((socket) => {
    const own = { bytes: '' };
    seen.push(own);
    sockets.add(socket);
    socket.on('close', () => {
      sockets.delete(socket);
      if (seen.includes(own)) closed += 1;
    });
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      const chunk = data.toString('latin1');
      received += chunk;
      if (!seen.includes(own)) seen.push(own);
      own.bytes += chunk;
      respond(socket, chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => received,
    connections: () => seen.length,
    byConnection: () => seen.map(({ bytes }) => bytes),
    closedConnections: () => closed,
    reset: () => {
      received = '';
      closed = 0;
      for (const own of seen) own.bytes = '';
      seen = [];
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
