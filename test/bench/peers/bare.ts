/**
 * The floor: node:http and undici's dispatch, nothing in between. It checks nothing, counts nothing, writes nothing
 * down, and no more of HTTP than a proxy must: `node bare.ts PORT UPSTREAM`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

const [, , port = '0', upstream = ''] = process.argv;
const pool = new Pool(upstream, { connections: 64, pipelining: 1, allowH2: false });

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  onRequestStart(): void {}

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const raw = controller.rawHeaders as Buffer[];
    this.#response.writeHead(status, withoutConnection(raw.map((value) => value.toString('latin1'))));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#response.write(chunk)) return;
    const left = () => controller.abort(new Error('the client left'));
    if (this.#response.destroyed) {
      left();
      return;
    }
    controller.pause();
    this.#response.once('close', left);
    this.#response.once('drain', () => {
      this.#response.off('close', left);
      controller.resume();
    });
  }

  onResponseEnd(): void {
    this.#response.end();
  }

  onResponseError(): void {
    this.#response.destroy();
  }
}

function withoutConnection(flat: readonly string[]): string[] {
  const kept: string[] = [];
  for (let index = 0; index < flat.length; index += 2) {
    const name = flat[index] ?? '';
    if (/^(?:connection|keep-alive|transfer-encoding|expect)$/i.test(name)) continue;
    kept.push(name, flat[index + 1] ?? '');
  }
  return kept;
}

createServer((request: IncomingMessage, response) => {
  const hasBody =
    request.headers['content-length'] !== undefined || request.headers['transfer-encoding'] !== undefined;
  pool.dispatch(
    {
      path: request.url ?? '/',
      method: request.method as Dispatcher.HttpMethod,
      headers: withoutConnection(request.rawHeaders),
      body: hasBody ? request : null,
    },
    new Relay(response),
  );
}).listen(Number(port), '127.0.0.1');

// In order, so that a profile of it is written.
process.once('SIGTERM', () => process.exit());
