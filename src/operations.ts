/** The operations port: metrics, probes and keys, apart from traffic, so that who asks needs no credential and no bucket. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { JWK } from 'jose';
import type { Config } from './config/schema.ts';
import { operationsHeaderBytesMax } from './limits.ts';
import { closeAtOnce, listen } from './listening.ts';
import type { Exposition } from './telemetry/exposition.ts';

interface OperationsState {
  readonly metrics: { exposition(accept: string | undefined): Promise<Exposition> };
  /** Loaded, listening and not draining; never the state of an upstream or a store. */
  isReady(): boolean;
  /** The public keys of tokens and assertions. */
  jwks(): readonly JWK[] | Promise<readonly JWK[]>;
}

const operationsTimeoutMs = 10_000;

/**
 * Opens the port; it is closed with `opened`.
 * @returns where it listens
 * @throws StartError
 */
export async function openOperations(
  config: Config,
  opened: AsyncDisposableStack,
  state: OperationsState,
): Promise<string> {
  const operations = createOperations(state);
  const url = await listen(operations, config.operations, 'operations');
  opened.defer(() => closeAtOnce(operations));
  return url;
}

function createOperations(state: OperationsState): Server {
  return createServer(
    {
      maxHeaderSize: operationsHeaderBytesMax,
      headersTimeout: operationsTimeoutMs,
      requestTimeout: operationsTimeoutMs,
      keepAliveTimeout: operationsTimeoutMs,
    },
    (request, response) => {
      answer(state, request, response).catch(() => response.destroy());
    },
  );
}

async function answer(
  state: OperationsState,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    return send(response, 405, 'GET and HEAD only\n');
  switch (request.url?.split('?', 1)[0]) {
    case '/metrics': {
      const { text, contentType } = await state.metrics.exposition(request.headers.accept);
      return send(response, 200, text, contentType);
    }
    case '/livez':
      return send(response, 200, 'alive\n');
    case '/readyz':
      return state.isReady()
        ? send(response, 200, 'ready\n')
        : send(response, 503, 'not ready: starting or draining\n');
    // Here whatever endpoints the traffic port has, for the services behind us verify assertions with it.
    case '/.well-known/jwks.json':
      return send(response, 200, JSON.stringify({ keys: await state.jwks() }), 'application/json');
    default:
      return send(response, 404, 'here are /metrics, /livez, /readyz and /.well-known/jwks.json\n');
  }
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  contentType = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'Content-Type': contentType, 'X-Content-Type-Options': 'nosniff' });
  response.end(body);
}
