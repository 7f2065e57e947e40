/**
 * The server that clients talk to: node:http with every option that matters written out. What the parser refuses,
 * and CONNECT, never become requests; they get the same error table and the same recorder.
 */
import { randomUUID } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AuditRecord, bareRecord } from './audit/record.ts';
import { Connection } from './connection.ts';
import { type ErrorCode, Refusal } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { beginExchange, type Gateway, handle } from './gateway.ts';
import type { Generations } from './generations.ts';
import { refusalBody, refusalHeaders } from './http/answer-error.ts';
import { normalizeAddress } from './http/client-address.ts';
import { connectionsMax, headerBytesMax, lingerMs } from './limits.ts';
import { guardHandshakes, type HandshakeFault, isClientHello, isTlsFault } from './tls/handshakes.ts';
import type { ServerIdentity } from './tls/server-identity.ts';

export interface DownstreamTimeouts {
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
}

/** What the port needs to speak TLS. */
export interface DownstreamTls {
  readonly identity: ServerIdentity;
  readonly handshakeFailed: (fault: HandshakeFault) => void;
}

/** How often node:http looks for connections past their time. */
const checkIntervalMs = 1_000;

/** @param tls without it the port speaks plain HTTP */
export function createDownstream(
  generations: Generations,
  timeouts: DownstreamTimeouts,
  tls: DownstreamTls | undefined,
): Server {
  const connections = new WeakMap<Duplex, Connection>();
  const connectionOf = (socket: Duplex) => {
    const known = connections.get(socket) ?? new Connection(socket);
    connections.set(socket, known);
    return known;
  };

  const options: ServerOptions = {
    insecureHTTPParser: false,
    // Both are checked on rawHeaders instead, where the answer and the record are ours.
    requireHostHeader: false,
    joinDuplicateHeaders: false,
    maxHeaderSize: headerBytesMax,
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.idleMs,
    connectionsCheckingInterval: checkIntervalMs,
    noDelay: true,
  };
  const server = tls === undefined ? createServer(options) : openTlsServer(generations, options, tls);
  // Node would drop what is past the count in silence; the head's bytes bound it, and phase 1 counts.
  server.maxHeadersCount = 0;
  server.maxConnections = connectionsMax;

  // Node asks for the peer's address when it is first read, and after a reset nobody knows it: whoever resets right
  // behind a request would be nobody in the record, and in no bucket of its own.
  server.on('connection', (socket: Socket) => {
    if (socket.remoteAddress === undefined) socket.destroy();
  });

  const take = (expectsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    const connection = connectionOf(request.socket);
    // Whoever sent an ambiguous request may have hidden this one behind it (CWE-444).
    if (connection.ends) return;
    if (tls?.identity.isOutdated(request.socket)) response.shouldKeepAlive = false;
    const turn = generations.begin();
    const exchange = beginExchange(turn.gateway, request, response, expectsContinue, connection);
    connection.last = exchange;
    void handle(turn.gateway, exchange).finally(turn.end);
  };
  server.on('request', take(false));
  server.on('checkContinue', take(true));
  server.on('checkExpectation', take(false));
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    onConnect(generations.current, request, socket, connectionOf(socket));
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    onClientError(generations.current, error, socket, connectionOf(socket));
  });
  return server;
}

function openTlsServer(
  generations: Generations,
  options: ServerOptions,
  { identity, handshakeFailed }: DownstreamTls,
): Server {
  const server = createTlsServer({ ...options, ...identity.serverOptions() });
  guardHandshakes(server, identity.clientCertificates, {
    handshakeFailed,
    admit: (secure) => identity.admit(secure),
    refuse: (socket, refusal) => refuse(generations.current, socket, refusal, undefined),
  });
  identity.serve(server);
  return server;
}

/** node:http lets go of the socket before it tells of a CONNECT: from here on nobody else hears its errors. */
function onConnect(gateway: Gateway, request: IncomingMessage, socket: Duplex, connection: Connection): void {
  socket.on('error', () => socket.destroy());
  socket.resume();
  const refusal = new Refusal('method_not_allowed', { headers: { Allow: '' } });
  // An answer to this one would be read as the answer to one before it.
  if (connection.isBusy) socket.destroy();
  if (!connection.ends) refuse(gateway, socket, refusal, request);
}

/** Parser errors, by what they mean. Anything else the parser dislikes is `malformed_request`. */
const parserErrors: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  // The client has ended its side in the middle of a request.
  HPE_INVALID_EOF_STATE: 'client_closed',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'malformed_body',
  HPE_INVALID_CHUNK_SIZE: 'malformed_body',
  HPE_INVALID_CONTENT_LENGTH: 'ambiguous_framing',
  HPE_UNEXPECTED_CONTENT_LENGTH: 'ambiguous_framing',
  HPE_INVALID_TRANSFER_ENCODING: 'ambiguous_framing',
  HPE_INVALID_VERSION: 'version_not_supported',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

function onClientError(
  gateway: Gateway,
  error: NodeJS.ErrnoException & { rawPacket?: Uint8Array },
  socket: Duplex,
  connection: Connection,
): void {
  if (connection.refused) return;
  connection.refused = true;
  const exchange = connection.last;
  if (socket.destroyed || error.code === 'ECONNRESET' || error.code === 'EPIPE') {
    socket.destroy();
    return;
  }
  if (isTlsFault(error)) return void socket.destroy();
  const code = isClientHello(error)
    ? 'tls_on_http_port'
    : (parserErrors[error.code ?? ''] ?? 'malformed_request');
  const refusal = new Refusal(code);
  if (exchange === undefined || exchange.response.writableFinished) {
    refuse(gateway, socket, refusal, undefined);
  } else if (exchange.request.complete) {
    // The fault is in what follows; the answer under way comes first.
    void exchange.closed.then(() => refuse(gateway, socket, refusal, undefined));
  } else {
    cutShort(gateway, exchange, socket, refusal);
  }
}

/** A fault in the body of a request under way: its own record tells, so none is added here. */
function cutShort(gateway: Gateway, exchange: Exchange, socket: Duplex, refusal: Refusal): void {
  exchange.parserFault ??= refusal;
  if (exchange.response.headersSent) socket.destroy();
  else writeAndClose(gateway, socket, refusal, exchange.requestId);
}

/** Answers and records what never became a request. */
function refuse(
  gateway: Gateway,
  socket: Duplex,
  refusal: Refusal,
  request: IncomingMessage | undefined,
): void {
  const id = randomUUID();
  gateway.recorder.refusedByParser(parserRecord(gateway, socket, refusal, request, id));
  writeAndClose(gateway, socket, refusal, id);
}

function writeAndClose({ policy }: Gateway, socket: Duplex, refusal: Refusal, requestId: string): void {
  // Nobody is there, or nobody who could read it.
  if (refusal.code === 'client_closed' || refusal.code === 'tls_on_http_port') socket.destroy();
  if (socket.destroyed || !socket.writable) return;
  const body = refusalBody(refusal, requestId);
  const headers = [
    ...policy.security.flat(),
    ...Object.entries(refusalHeaders(refusal)).flat(),
    ...['X-Request-Id', requestId, 'Content-Length', String(Buffer.byteLength(body)), 'Connection', 'close'],
  ];
  const lines = [`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`];
  for (let index = 0; index < headers.length; index += 2)
    lines.push(`${headers[index]}: ${headers[index + 1]}`);
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
  // A reset would take the answer with it, so the client gets a moment to read.
  setTimeout(() => socket.destroy(), lingerMs).unref();
}

function parserRecord(
  { policy }: Gateway,
  socket: Duplex,
  refusal: Refusal,
  request: IncomingMessage | undefined,
  id: string,
): AuditRecord {
  const clientIp = normalizeAddress((socket as Socket).remoteAddress) ?? 'unix';
  return {
    ...bareRecord(policy.clock.wallMs(), id, clientIp),
    method: request?.method ?? '',
    status_code: refusal.status,
    decision: 'deny',
    code: refusal.code,
    reason: refusal.reason ?? null,
  };
}
