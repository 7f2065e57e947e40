/** A real HTTP server that takes batches of JSON lines, and misbehaves when it is told to. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';

interface Test {
  teardown(callback: () => unknown): void;
}

/** What it does with one batch; `take` unless told otherwise. */
export type Behaviour =
  | 'take'
  /** Reads the batch and never answers. */
  | 'hang'
  /** Breaks the connection in the middle of the batch. */
  | 'cut_request'
  /** Takes it, and breaks the connection in the middle of its answer. */
  | 'cut_answer'
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>> };

export interface Batch {
  readonly headers: IncomingMessage['headers'];
  readonly lines: readonly string[];
  readonly atMs: number;
}

export class HttpReceiver {
  /** What it has taken, batch by batch. */
  readonly taken: Batch[] = [];
  /** Batches that came, taken or not. */
  came: Batch[] = [];
  /** For the next batches, one after the other. */
  readonly script: Behaviour[] = [];
  /** For every batch behind the script. */
  behave: (lines: readonly string[]) => Behaviour = () => 'take';
  #server: Server | undefined;
  #port = 0;
  readonly #tls: ServerOptions | undefined;

  constructor(tls?: ServerOptions) {
    this.#tls = tls;
  }

  static async start(t: Test, tls?: ServerOptions): Promise<HttpReceiver> {
    const receiver = new HttpReceiver(tls);
    await receiver.start();
    t.teardown(() => receiver.kill());
    return receiver;
  }

  get url(): string {
    return `${this.#tls === undefined ? 'http' : 'https'}://127.0.0.1:${this.#port}/ingest?from=gateway`;
  }

  get lines(): string[] {
    return this.taken.flatMap(({ lines }) => lines);
  }

  /** Listens, where it listened before. */
  async start(): Promise<void> {
    const answer = (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch(() => response.destroy());
    };
    const server = this.#tls === undefined ? createServer(answer) : createTlsServer(this.#tls, answer);
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  /** Breaks what is open and listens no more. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    const next = this.script[0];
    for await (const chunk of request) {
      chunks.push(chunk as Buffer);
      if (next !== 'cut_request') continue;
      this.script.shift();
      request.socket.destroy();
      return;
    }
    const lines = Buffer.concat(chunks).toString().split('\n').slice(0, -1);
    const batch = { headers: request.headers, lines, atMs: performance.now() };
    this.came.push(batch);
    const behaviour = this.script.shift() ?? this.behave(lines);
    if (behaviour === 'hang') return;
    if (typeof behaviour === 'object') {
      response.writeHead(behaviour.status, behaviour.headers).end('no');
      return;
    }
    this.taken.push(batch);
    if (behaviour === 'cut_answer') {
      response.writeHead(200, { 'content-length': '10' });
      response.write('half', () => request.socket.destroy());
      return;
    }
    response.writeHead(204).end();
  }
}
