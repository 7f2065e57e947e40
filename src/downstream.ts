/**
 * The server that clients talk to: node:http with every option that matters written out. What the parser refuses,
 * and CONNECT, never become requests; they get the same error table and the same recorder.
 */
import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Admission, type AdmissionLimits, type ConnectionBound } from './admission.ts';
import { Connection, type Waiting } from './connection.ts';
import { type ErrorCode, Refusal } from './errors.ts';
import type { Exchange } from './exchange.ts';
import { beginExchange, type Gateway, handle } from './gateway.ts';
import type { Generations } from './generations.ts';
import { CheckedResponse } from './http/checked-response.ts';
import { normalizeAddress } from './http/client-address.ts';
import { paceIntervalMs, turnedAwayMax } from './limits.ts';
import { Pace, type PaceLimits } from './pace.ts';
import { contain, refuse, writeAndClose } from './refuse.ts';
import { guardHandshakes, type HandshakeFault, isClientHello, isTlsFault } from './tls/handshakes.ts';
import type { ServerIdentity } from './tls/server-identity.ts';
import { takeUpgrades } from './upgrade.ts';

export interface DownstreamTimeouts {
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
}

export interface DownstreamLimits extends AdmissionLimits, PaceLimits {
  readonly headerBytesMax: number;
  /** Requests that one connection may have waiting for their answers. */
  readonly pipelinedMax: number;
}

/** What is told of connections. */
interface ConnectionReports {
  /** @param open connections that have a place now */
  connections(open: number): void;
  connectionRefused(bound: ConnectionBound): void;
}

export interface DownstreamOptions {
  readonly timeouts: DownstreamTimeouts;
  readonly limits: DownstreamLimits;
  readonly reports: ConnectionReports;
  /** Without it the port speaks plain HTTP. */
  readonly tls: DownstreamTls | undefined;
}

/** What the port needs to speak TLS. */
export interface DownstreamTls {
  readonly identity: ServerIdentity;
  readonly handshakeFailed: (fault: HandshakeFault) => void;
}

/** Seconds after which a connection that was turned away may find a place. */
const turnedAwayRetrySeconds = 1;

export function createDownstream(generations: Generations, options: DownstreamOptions): Server {
  const { limits, reports, tls } = options;
  const server = createHttpServer(options);
  const connections = new WeakMap<Duplex, Connection>();
  const connectionOf = (socket: Duplex) => {
    const known = connections.get(socket) ?? new Connection(socket as Socket);
    connections.set(socket, known);
    return known;
  };
  const busy = new Set<Connection>();

  const admission = new Admission(limits);
  let turnedAway = 0;
  server.on('connection', (socket: Socket) => {
    // Node asks for the peer's address when it is first read, and after a reset nobody knows it: whoever resets right
    // behind a request would be nobody in the record, and in no bucket of its own.
    const address = normalizeAddress(socket.remoteAddress);
    if (address === undefined) return socket.destroy();
    const bound = admission.enter(address, !generations.current.trust(address));
    if (bound === undefined) {
      reports.connections(admission.open);
      socket.once('close', () => {
        admission.leave(address);
        reports.connections(admission.open);
      });
      return;
    }
    reports.connectionRefused(bound);
    if (turnedAway >= turnedAwayMax) return socket.destroy();
    turnedAway += 1;
    connectionOf(socket).turnedAway = true;
    // Told when it asks, since an answer before the question confuses clients; but it is not waited for.
    const end = setTimeout(() => socket.destroy(), turnedAwayRetrySeconds * 1_000);
    socket.once('close', () => {
      clearTimeout(end);
      turnedAway -= 1;
    });
  });
  // Past what is turned away with an answer.
  server.on('drop', () => reports.connectionRefused('all'));

  const inForce = () => generations.current;
  const begin = (connection: Connection, { request, response, expectsContinue }: Waiting) => {
    if (tls?.identity.isOutdated(request.socket)) response.shouldKeepAlive = false;
    const exchange = beginExchange(generations.current, { request, response, connection, expectsContinue });
    connection.last = exchange;
    connection.underWay = true;
    busy.add(connection);
    exchange.ending.whenOver(() => {
      connection.underWay = false;
      busy.delete(connection);
      next(connection);
    });
    const turn = generations.begin();
    return handle(turn.gateway, exchange, inForce).finally(() => exchange.ending.whenOver(turn.end));
  };
  const tryToBegin = (connection: Connection, waiting: Waiting) => {
    const { request, response } = waiting;
    const fail = (error: unknown) => {
      connection.refused = true;
      contain(generations.current, request.socket, error, request, response.headersSent);
    };
    try {
      if (connection.socket.writable) begin(connection, waiting).catch(fail);
      else recordUnbegun(generations.current, waiting, connection);
    } catch (error) {
      fail(error);
    }
  };
  /** The one before has been answered, or is gone with the connection. */
  const next = (connection: Connection) => {
    const { socket, waiting, faultBehind } = connection;
    // What stands behind the last answer is no request.
    while (!connection.saidLast && !connection.underWay && waiting.length > 0) {
      // The time it had to take the answer before is not this one's.
      socket.setTimeout(0);
      const first = waiting.shift() as Waiting;
      if (waiting.length === 0) connection.listen();
      if (first.fault !== undefined) refuseContained(generations.current, socket, first.fault, first.request);
      else tryToBegin(connection, first);
    }
    if (connection.underWay) return;
    waiting.length = 0;
    connection.faultBehind = undefined;
    if (faultBehind !== undefined && !connection.saidLast)
      refuseContained(generations.current, socket, faultBehind);
    connection.rest();
  };
  const take = (expectsContinue: boolean) => (request: IncomingMessage, response: CheckedResponse) => {
    const connection = connectionOf(request.socket);
    // Whoever sent an ambiguous request may have hidden this one behind it (CWE-444).
    if (connection.ends) return connection.ignoreTheRest();
    const pending = connection.waiting.length + (connection.underWay ? 1 : 0);
    if (connection.turnedAway || pending >= limits.pipelinedMax)
      return turnAway(generations.current, request, connection);
    const waiting = { request, response, expectsContinue, fault: undefined };
    if (connection.underWay) connection.wait(waiting);
    else tryToBegin(connection, waiting);
  };
  server.on('request', take(false));
  server.on('checkContinue', take(true));
  server.on('checkExpectation', take(false));
  takeUpgrades(server, generations, connectionOf);
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    const connection = connectionOf(socket);
    try {
      onConnect(generations.current, request, socket, connection);
    } catch (error) {
      contain(generations.current, socket, error, request, connection.isBusy);
    }
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    const connection = connectionOf(socket);
    try {
      onClientError(generations.current, error, socket, connection);
    } catch (fault) {
      contain(generations.current, socket, fault, connection.last?.request, true);
    }
  });
  if (tls !== undefined) {
    guardHandshakes(server as TlsServer, tls.identity.clientCertificates, {
      handshakeFailed: tls.handshakeFailed,
      wallMs: () => generations.current.policy.clock.wallMs(),
      admit: (secure, plain) => {
        tls.identity.admit(secure);
        if (connections.get(plain)?.turnedAway) connectionOf(secure).turnedAway = true;
      },
      refuse: (socket, refusal) => refuse(generations.current, socket, refusal),
    });
    tls.identity.serve(server as TlsServer);
  }
  watchPace(generations, server, busy, limits);
  return server;
}

function createHttpServer({ timeouts, limits, tls }: DownstreamOptions): Server {
  const options: ServerOptions<typeof IncomingMessage, typeof CheckedResponse> = {
    ServerResponse: CheckedResponse,
    insecureHTTPParser: false,
    // Both are checked on rawHeaders instead, where the answer and the record are ours.
    requireHostHeader: false,
    joinDuplicateHeaders: false,
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.idleMs,
    // A client is told the idle time; a second on top, so that a request in its last moment meets an open door.
    keepAliveTimeoutBuffer: 1_000,
    connectionsCheckingInterval: paceIntervalMs,
    noDelay: true,
    // A peer that vanished without a word is found out by the kernel.
    keepAlive: true,
    keepAliveInitialDelay: timeouts.idleMs,
    // A body after HEAD, 204 or 304 would be read as the next answer.
    rejectNonStandardBodyWrites: true,
    // Who announces no body has none. Such a request is ended and destroyed from the start and tells nothing more:
    // `exchange.ending` does.
    optimizeEmptyRequests: true,
  };
  const server =
    tls === undefined
      ? createServer(options)
      : createTlsServer({ ...options, ...tls.identity.serverOptions() });
  // Node would drop what is past the count in silence; the head's bytes bound it, and phase 1 counts.
  server.maxHeadersCount = 0;
  // Any number: the time of each request is bounded, and so is the time between two.
  server.maxRequestsPerSocket = 0;
  // The times above and the pace are what is watched; a busy connection may well be silent.
  server.timeout = 0;
  server.maxConnections = limits.connectionsMax + turnedAwayMax;
  return server;
}

/** One request too many on a connection, or one on a connection too many. */
function turnAway(gateway: Gateway, request: IncomingMessage, connection: Connection): void {
  connection.refused = true;
  connection.ignoreTheRest();
  // An answer now would be read as the answer to one before it.
  if (connection.isBusy) request.socket.destroy();
  const refusal = new Refusal('overloaded', { retryAfterSeconds: turnedAwayRetrySeconds });
  refuseContained(gateway, request.socket, refusal, request);
}

/** As `refuse`, where a fault in it would be nobody's. */
function refuseContained(
  gateway: Gateway,
  socket: Socket,
  refusal: Refusal,
  request?: IncomingMessage,
): void {
  try {
    refuse(gateway, socket, refusal, request);
  } catch (error) {
    contain(gateway, socket, error, request, true);
  }
}

/** The client is gone, and nothing was done of what it asked for behind another request. */
function recordUnbegun(gateway: Gateway, { request, response }: Waiting, connection: Connection): void {
  const exchange = beginExchange(gateway, { request, response, connection });
  exchange.ending.whenOver(() => gateway.recorder.complete(exchange));
}

/** Cuts off whoever holds a connection, and perhaps a place at an upstream, by being slow. */
function watchPace(
  generations: Generations,
  server: Server,
  busy: Set<Connection>,
  limits: PaceLimits,
): void {
  const { clock } = generations.current.policy;
  let lookedMs = clock.monotonicMs();
  const look = setInterval(() => {
    const nowMs = clock.monotonicMs();
    // Where the process itself was held up, nobody else is to blame.
    const elapsedMs = Math.min(nowMs - lookedMs, 2 * paceIntervalMs);
    lookedMs = nowMs;
    for (const connection of busy) cutIfSlow(generations.current, connection, elapsedMs, limits);
  }, paceIntervalMs);
  look.unref();
  server.once('close', () => clearInterval(look));
}

function cutIfSlow(gateway: Gateway, connection: Connection, elapsedMs: number, limits: PaceLimits): void {
  const exchange = connection.last;
  const { socket } = connection;
  // Told already. With a fault behind it, it may be slow no more than any other.
  if (exchange === undefined || exchange.parserFault !== undefined) return;
  if (connection.pace === undefined) {
    // What it did before this first look, nobody knows.
    connection.pace = new Pace(socket, limits);
    return;
  }
  const laggard = connection.pace.laggard(exchange, elapsedMs);
  if (laggard === undefined) return;
  connection.refused = true;
  const refusal = new Refusal('request_timeout', { detail: 'The body came too slowly.' });
  if (laggard === 'sender' && !exchange.response.headersSent)
    cutShort(gateway, exchange, connection, refusal);
  else socket.destroy();
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
  const exchange = connection.last;
  // Bytes behind an answer that says it is the last are no request; nor are those behind a refusal.
  if (connection.refused || (exchange?.request.complete !== false && connection.ends)) return;
  connection.refused = true;
  if (socket.destroyed || error.code === 'ECONNRESET' || error.code === 'EPIPE') {
    socket.destroy();
    return;
  }
  if (isTlsFault(error)) return void socket.destroy();
  const code = isClientHello(error)
    ? 'tls_on_http_port'
    : (parserErrors[error.code ?? ''] ?? 'malformed_request');
  const refusal = new Refusal(code);
  const newest = connection.waiting.at(-1);
  // Nothing more is done for a client that has ended its side, in the middle of a request as between two.
  const isGone = code === 'client_closed';
  if (newest?.request.complete === false) {
    if (isGone) socket.destroy();
    else newest.fault = refusal;
  } else if (exchange === undefined || (newest === undefined && exchange.response.writableFinished)) {
    refuse(gateway, socket, refusal);
  } else if (exchange.request.complete) {
    connection.faultBehind = refusal;
    if (isGone) socket.destroy();
  } else {
    cutShort(gateway, exchange, connection, refusal);
  }
}

/** A fault in the body of a request under way: its own record tells, so none is added here. */
function cutShort(gateway: Gateway, exchange: Exchange, { socket }: Connection, refusal: Refusal): void {
  exchange.parserFault ??= refusal;
  // In the middle of an answer it would be read as part of it (CWE-444).
  if (exchange.response.headersSent) socket.destroy();
  else writeAndClose(gateway, socket, refusal, exchange.requestId);
}
