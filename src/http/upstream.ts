/** A service behind the gateway: one undici Pool, and how many requests may be on their way to it. */
import { Pool } from 'undici';

export interface UpstreamOptions {
  readonly name: string;
  /** `http://host:port` or `unix:/path`. */
  readonly url: string;
  /** Sockets at most. */
  readonly connections: number;
  /** Requests that may wait for a socket. */
  readonly pending: number;
  readonly connectTimeoutMs: number;
  /** Silence before the head of the response. */
  readonly responseTimeoutMs: number;
  /** Silence in the middle of its body. */
  readonly idleTimeoutMs: number;
  /** Where the service describes itself (OpenAPI). */
  readonly openapiPath: string | undefined;
}

/** An idle socket is let go before most servers (node:http: 5 s) close it under a request. */
const keepAliveMs = 4_000;

export class Upstream {
  readonly name: string;
  readonly pool: Pool;
  readonly openapiPath: string | undefined;
  readonly #inFlightMax: number;
  #inFlight = 0;

  constructor(options: UpstreamOptions) {
    this.name = options.name;
    this.openapiPath = options.openapiPath;
    this.#inFlightMax = options.connections + options.pending;
    const socketPath = options.url.startsWith('unix:') ? options.url.slice(5) : undefined;
    this.pool = new Pool(socketPath === undefined ? new URL(options.url).origin : 'http://localhost', {
      ...(socketPath !== undefined && { socketPath }),
      connections: options.connections,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: options.connectTimeoutMs },
      headersTimeout: options.responseTimeoutMs,
      bodyTimeout: options.idleTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      strictContentLength: true,
    });
  }

  /** Takes a place for one request; false when too many are under way or waiting. */
  enter(): boolean {
    if (this.#inFlight >= this.#inFlightMax) return false;
    this.#inFlight += 1;
    return true;
  }

  leave(): void {
    this.#inFlight -= 1;
  }
}
