/** Sends bytes as they are and reads what comes back until the other side closes or stays silent. */
import { connect } from 'node:net';

export interface RawAnswer {
  readonly text: string;
  readonly status: number;
  /** Header values by lower-case name, in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: string;
  /** Whether the other side closed the connection. */
  readonly closed: boolean;
}

const silenceMs = 400;
const wholeMs = 10_000;

/** @param request bytes in latin1, or several pieces sent a moment apart */
export async function sendRaw(url: string, ...request: readonly string[]): Promise<RawAnswer> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let text = '';
  let closed = false;
  await new Promise<void>((resolve) => {
    const whole = setTimeout(resolve, wholeMs);
    let silence = setTimeout(resolve, wholeMs);
    const finish = () => {
      clearTimeout(whole);
      clearTimeout(silence);
      resolve();
    };
    socket.on('data', (data) => {
      text += data.toString('latin1');
      clearTimeout(silence);
      silence = setTimeout(finish, silenceMs);
    });
    socket.on('error', () => undefined);
    socket.on('end', () => {
      closed = true;
      finish();
    });
    socket.on('close', () => {
      closed = true;
      finish();
    });
    void sendPieces(socket, request);
  });
  socket.destroy();
  return { ...parse(text), closed };
}

async function sendPieces(socket: import('node:net').Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(Buffer.from(piece, 'latin1'));
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

function parse(text: string): Omit<RawAnswer, 'closed'> {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const [statusLine = '', ...lines] = head.split('\r\n');
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const mark = line.indexOf(':');
    const name = line.slice(0, mark).toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), line.slice(mark + 1).trim()]);
  }
  return { text, status: Number(statusLine.split(' ')[1] ?? 0), headers, body: rest.join('\r\n\r\n') };
}
