/** One address of an upstream: its connections, and what is thought of it. */
import { isIP } from 'node:net';
import type { Clock } from '../clock.ts';
import { addressLookupMs } from '../limits.ts';
import { CheckedClient } from './checked-request.ts';
import { Pool } from './undici.ts';

export interface AddressOptions {
  /** `http://host:port` or `unix:/path`. */
  readonly url: string;
  /** Sockets at most. */
  readonly connections: number;
  readonly connectTimeoutMs: number;
  /** Silence before the head of the response. */
  readonly responseTimeoutMs: number;
  /** Silence in the middle of its body. */
  readonly idleTimeoutMs: number;
  /** Failed requests in a row after which it is left out; 0 never leaves it out. */
  readonly ejectAfter: number;
  /** For how long. */
  readonly ejectMs: number;
  readonly clock: Clock;
  /** Something that `isUp` or `isEjected` says has changed. */
  onChange(address: Address): void;
}

/** An idle socket is let go before most servers (node:http: 5 s) close it under a request. */
const keepAliveMs = 4_000;

/** Where undici finds the service behind an address. */
export function originOf(url: string): { origin: string; socketPath?: string } {
  if (url.startsWith('unix:')) return { origin: 'http://localhost', socketPath: url.slice(5) };
  return { origin: new URL(url).origin };
}

/** A name may mean other machines tomorrow: what is connected to it for long is connected anew. */
function hasName(url: string): boolean {
  return !url.startsWith('unix:') && isIP(new URL(url).hostname.replaceAll(/[[\]]/g, '')) === 0;
}

export class Address {
  readonly url: string;
  readonly pool: Pool;
  readonly #options: AddressOptions;
  #inFlight = 0;
  /** Whether the last request or health check that tells something got through. */
  #reached = true;
  /** Whether its health checks have failed. */
  #sick = false;
  #failuresInRow = 0;
  #ejected = false;
  #ejectedUntilMs = 0;
  /** Whether a request is finding out if it is back. */
  #onTrial = false;

  constructor(options: AddressOptions) {
    const { url, connections, connectTimeoutMs, responseTimeoutMs, idleTimeoutMs } = options;
    const { origin, socketPath } = originOf(url);
    this.url = url;
    this.#options = options;
    this.pool = new Pool(origin, {
      ...(socketPath !== undefined && { socketPath }),
      ...(hasName(url) && { clientTtl: addressLookupMs }),
      connections,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: connectTimeoutMs },
      headersTimeout: responseTimeoutMs,
      bodyTimeout: idleTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      keepAliveMaxTimeout: keepAliveMs,
      strictContentLength: true,
      factory: (to, options) => new CheckedClient(to, options),
    });
  }

  get connectTimeoutMs(): number {
    return this.#options.connectTimeoutMs;
  }

  get responseTimeoutMs(): number {
    return this.#options.responseTimeoutMs;
  }

  get idleTimeoutMs(): number {
    return this.#options.idleTimeoutMs;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether it is thought to answer. */
  get isUp(): boolean {
    return this.#reached && !this.isOut;
  }

  /** Whether it is left out, by its health checks or by its failures. */
  get isOut(): boolean {
    return this.#sick || this.#ejected;
  }

  /** Whether a request should go there: it is in, or its time is over and one request may find out. */
  get isOpen(): boolean {
    if (this.#sick) return false;
    if (!this.#ejected) return true;
    return !this.#onTrial && this.#options.clock.monotonicMs() >= this.#ejectedUntilMs;
  }

  /** A request goes there. */
  enter(): void {
    this.#inFlight += 1;
    if (this.#ejected) this.#onTrial = true;
  }

  /** The head of an answer has come: whatever becomes of the rest, it is there. */
  answers(): void {
    // The way of almost every request: nothing to change.
    if (this.#reached && !this.#ejected && this.#failuresInRow === 0) return;
    this.#failuresInRow = 0;
    this.#onTrial = false;
    this.#change(true, this.#sick, false);
  }

  /** A request there has ended. @param failed refused, silent or nonsense; a client that left tells nothing */
  leave(failed: boolean): void {
    this.#inFlight -= 1;
    this.#onTrial = false;
    if (failed) this.#fail();
  }

  #fail(): void {
    const { ejectAfter, ejectMs, clock } = this.#options;
    this.#failuresInRow += 1;
    const ejected = ejectAfter > 0 && this.#failuresInRow >= ejectAfter;
    if (ejected) this.#ejectedUntilMs = clock.monotonicMs() + ejectMs;
    this.#change(false, this.#sick, ejected);
  }

  /** What its health checks say. */
  setHealth(healthy: boolean): void {
    this.#change(healthy, !healthy, this.#ejected);
  }

  #change(reached: boolean, sick: boolean, ejected: boolean): void {
    if (reached === this.#reached && sick === this.#sick && ejected === this.#ejected) return;
    this.#reached = reached;
    this.#sick = sick;
    this.#ejected = ejected;
    this.#options.onChange(this);
  }
}
