/** An upstream that is no HTTP server: it keeps every byte it is sent and answers what it is told to. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface ByteRecorder {
  readonly url: string;
  /** Every byte of every connection so far, in latin1. */
  bytes(): string;
  connections(): number;
  /** Forgets what came so far. */
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
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      const chunk = data.toString('latin1');
      received += chunk;
      respond(socket, chunk);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => received,
    connections: () => count,
    reset: () => {
      received = '';
      count = 0;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
