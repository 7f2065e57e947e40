/**
 * The opening handshake with an upstream, by http-proxy-3's `ws()`. The library says what it is told to, relays any 101
 * as it is and any other answer unframed by us, and leaves sockets behind; so it gets headers that are sanitized, a
 * gate in place of the client, and each answer is taken out of its hands before it acts on it.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import type * as httpProxy from 'http-proxy-3';
import type { UpstreamHead } from '../exchange.ts';
import type { ClientGate } from './client-gate.ts';
import { originOf } from './upstream-address.ts';

/** Loaded with the first WebSocket. */
const require = createRequire(import.meta.url);

export interface Handshake {
  /** `http://host:port` or `unix:/path`. */
  readonly url: string;
  /** As it was authorized; sent to the byte. */
  readonly target: string;
  /** Sanitized; without `Connection` and `Upgrade`. */
  readonly headers: UpstreamHead;
  readonly connectTimeoutMs: number;
  /** Silence before the head of the answer. */
  readonly responseTimeoutMs: number;
  /** Silence in the middle of its body. */
  readonly idleTimeoutMs: number;
  /** Gives up at once. */
  readonly signal: AbortSignal;
}

/** What the upstream says. `socket` is the connection to it; destroying it is the caller's to do. */
export interface Answer {
  /** 101, or what it says instead. */
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
  /** Of what is no 101. Destroyed with the reason when it breaks off. */
  readonly body: Readable;
  readonly socket: Socket;
}

/** Why there is no answer. */
export class HandshakeError extends Error {
  /** Whether a byte of it may have been received. */
  readonly started: boolean;
  /** Whether it was silent for too long. */
  readonly isTimeout: boolean;

  constructor(cause: unknown, started: boolean, isTimeout: boolean) {
    super('no answer to the handshake', { cause });
    this.started = started;
    this.isTimeout = isTimeout;
  }
}

/**
 * Asks an upstream for a WebSocket. After a 101 the two sides are joined through `gate`, which the caller opens.
 * @throws HandshakeError
 */
export function askForWebSocket(handshake: Handshake, gate: ClientGate): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const { createProxyServer } = require('http-proxy-3') as typeof httpProxy;
  const proxy = createProxyServer({});
  let started = false;
  let timedOut = false;
  const fail = (error: unknown) => {
    gate.destroy();
    reject(new HandshakeError(error, started, timedOut || isConnectTimeout(error)));
  };
  // Without a listener of ours, the library throws.
  proxy.on('error', fail);
  proxy.on('proxyReqWs', (request: ClientRequest) => {
    // The library reads a path as a URL does, which is not always what was authorized.
    request.path = handshake.target;
    const giveUp = () => request.destroy(new Error('given up'));
    handshake.signal.addEventListener('abort', giveUp, { once: true });
    let silence: NodeJS.Timeout | undefined;
    const settle = () => {
      clearTimeout(silence);
      handshake.signal.removeEventListener('abort', giveUp);
    };
    request.once('socket', (socket) => {
      socket.once('connect', () => {
        started = true;
        silence = setTimeout(() => {
          timedOut = true;
          request.destroy(new Error('silent'));
        }, handshake.responseTimeoutMs);
      });
    });
    request.once('close', settle);
    request.once('upgrade', (message: IncomingMessage, socket: Socket) => {
      settle();
      const { headers, rawHeaders } = message;
      resolve({ status: 101, headers, rawHeaders, body: message, socket });
      // The library would pass them on as they are; what it says is dropped by the gate.
      message.headers = {};
    });
    request.once('response', (message: IncomingMessage) => {
      settle();
      // So that the library writes nothing of it anywhere.
      gate.destroy();
      const { statusCode: status = 502, headers, rawHeaders, socket } = message;
      // Taken at once: the library lets what it does not write run out.
      const body = pipeline(message, new PassThrough(), () => undefined);
      message.setTimeout(handshake.idleTimeoutMs, () => body.destroy(new Error('silent')));
      resolve({ status, headers, rawHeaders, body, socket });
    });
  });
  proxy.ws(requestOf(handshake, gate), gate, Buffer.alloc(0), optionsOf(handshake), fail);
  return promise;
}

function isConnectTimeout(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNECT_TIMEOUT';
}

function optionsOf({ url, connectTimeoutMs }: Handshake) {
  const { origin, socketPath } = originOf(url);
  const { hostname, port } = new URL(origin);
  return {
    target:
      socketPath === undefined
        ? new URL(origin)
        : { protocol: 'http:', host: hostname, port: Number(port || 80), socketPath },
    connectTimeout: connectTimeoutMs,
    // Neither the path nor the Host is the library's to change, nor is anything to be added.
    toProxy: true,
    changeOrigin: false,
    xfwd: false,
  };
}

/** What the library reads of a request: our headers, and nothing of the client's beside them. */
function requestOf({ target, headers }: Handshake, gate: ClientGate): IncomingMessage {
  const byName: Record<string, string | string[]> = {};
  for (let index = 0; index < headers.length; index += 2) {
    const name = (headers[index] ?? '').toLowerCase();
    const value = headers[index + 1] ?? '';
    const before = byName[name];
    byName[name] = before === undefined ? value : [before, value].flat();
  }
  const sent = {
    method: 'GET',
    url: target,
    httpVersion: '1.1',
    httpVersionMajor: 1,
    httpVersionMinor: 1,
    headers: { ...byName, connection: 'Upgrade', upgrade: 'websocket' },
    socket: gate,
    connection: gate,
  };
  return sent as unknown as IncomingMessage;
}
