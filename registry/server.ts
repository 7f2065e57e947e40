/** The HTTP server: its bounds, how an answer or a refusal is written, and how it stops. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from 'pino';
import { problemBody, problemContentType } from '../src/http/problem.ts';
import { isUnavailable } from '../src/sql/trouble.ts';
import type { AssertionCheck } from './assertion.ts';
import type { Catalogue } from './catalogue.ts';
import type { Answer } from './endpoints.ts';
import { type ErrorCode, errorKinds, Refusal } from './errors.ts';
import {
  connectionsMax,
  headerBytesMax,
  headerCountMax,
  headersTimeoutMs,
  keepAliveTimeoutMs,
  requestTimeoutMs,
  retryAfterSeconds,
  shutdownGraceMs,
} from './limits.ts';
import { findRoute, openPaths } from './routes.ts';
import { subjectTold } from './subject.ts';

/** A server that is not listening yet. @param assertions what every request is checked by; `undefined` for nothing */
export function createRegistryServer(
  catalogue: Catalogue,
  assertions: AssertionCheck | undefined,
  log: Logger,
): Server {
  const server = createServer({
    maxHeaderSize: headerBytesMax,
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    connectionsCheckingInterval: 1_000,
    requireHostHeader: true,
    insecureHTTPParser: false,
    joinDuplicateHeaders: false,
    noDelay: true,
  });
  server.maxHeadersCount = headerCountMax;
  server.maxConnections = connectionsMax;
  server.on(
    'request',
    (request, response) => void handle(server, catalogue, assertions, log, request, response),
  );
  server.on('clientError', answerClientError);
  return server;
}

/** Stops accepting, lets what is in flight finish, and closes what takes longer than the grace time. */
export function closeServer(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const deadline = setTimeout(() => server.closeAllConnections(), shutdownGraceMs);
  server.close(() => {
    clearTimeout(deadline);
    resolve();
  });
  return promise;
}

async function handle(
  server: Server,
  catalogue: Catalogue,
  assertions: AssertionCheck | undefined,
  log: Logger,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const requestId = requestIdOf(request);
  // Otherwise an idle connection would hold up the end for as long as its keep-alive.
  if (!server.listening) response.setHeader('connection', 'close');
  try {
    write(response, requestId, await answer(catalogue, assertions, request, requestId));
  } catch (error) {
    // The client is gone; there is nobody to tell.
    if (response.destroyed) return;
    const refusal = asRefusal(error);
    if (isFault(refusal))
      log.error({ err: error, code: refusal.code, request_id: requestId }, 'a request failed');
    writeRefusal(response, requestId, refusal);
  }
}

async function answer(
  catalogue: Catalogue,
  assertions: AssertionCheck | undefined,
  request: IncomingMessage,
  requestId: string,
): Promise<Answer> {
  const target = request.url ?? '';
  const queryStart = target.indexOf('?');
  const path = queryStart === -1 ? target : target.slice(0, queryStart);
  const query = new URLSearchParams(queryStart === -1 ? '' : target.slice(queryStart + 1));
  if (path === '/health') await assertions?.requireReady();
  // A probe and the gateway's own question have no assertion; they are told nothing that is anyone's.
  const subject = openPaths.has(path) ? '' : await assertions?.subjectOf(request, requestId);
  const { endpoint, id } = findRoute(request.method ?? '', path);
  return endpoint(catalogue, { request, query, id, subject: subject ?? subjectTold(request.headers) });
}

/** The gateway's id, where it is one; a log line is no place for anything else. */
function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}

function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal(isUnavailable(error) ? 'store_unavailable' : 'internal_error', { cause: error });
}

/** Whether a request is worth a line of its own. What waits for keys is not: their source tells why they are away. */
function isFault({ code }: Refusal): boolean {
  return errorKinds[code].status >= 500 && code !== 'keys_unavailable';
}

function write(response: ServerResponse, requestId: string, { status, headers, body }: Answer): void {
  const text = body === undefined ? undefined : JSON.stringify(body);
  response.writeHead(status, {
    'x-request-id': requestId,
    'x-content-type-options': 'nosniff',
    ...(text !== undefined && {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
    }),
    ...headers,
  });
  response.end(text);
}

function writeRefusal(response: ServerResponse, requestId: string, refusal: Refusal): void {
  const { status } = errorKinds[refusal.code];
  const text = problemOf(refusal, requestId);
  response.writeHead(status, {
    'x-request-id': requestId,
    'x-content-type-options': 'nosniff',
    'content-type': problemContentType,
    'content-length': Buffer.byteLength(text),
    ...(status === 503 && { 'retry-after': String(retryAfterSeconds) }),
    ...refusal.headers,
  });
  response.end(text);
}

function problemOf({ code, detail, errors }: Refusal, requestId: string): string {
  const { status, title } = errorKinds[code];
  const problem = { status, title, detail, code, requestId, errors };
  return problemBody({ ...problem, ...(status === 503 && { retryAfterSeconds }) });
}

const clientErrorCodes: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

/** What never became a request. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const refusal = new Refusal(clientErrorCodes[error.code ?? ''] ?? 'malformed_request');
  const { status, title } = errorKinds[refusal.code];
  const body = problemOf(refusal, randomUUID());
  const head = [
    `HTTP/1.1 ${status} ${title}`,
    `Content-Type: ${problemContentType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
