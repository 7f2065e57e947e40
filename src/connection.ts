/** What the server knows of one client's connection, beside what node:http keeps. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { callAll, Ending } from './ending.ts';
import type { Refusal } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { CheckedResponse } from './http/checked-response.ts';
import { normalizeAddress, type Peer, type Trust } from './http/client-address.ts';
import { declaredBytes } from './http/head.ts';
import { waitingBytesMax } from './limits.ts';
import type { Pace } from './pace.ts';

/** A request that came in behind another one. */
export interface Waiting {
  readonly request: IncomingMessage;
  readonly response: CheckedResponse;
  readonly expectsContinue: boolean;
  /** What the parser found wrong with its body meanwhile: its answer, once its turn has come. */
  fault: Refusal | undefined;
}

export class Connection {
  readonly socket: Socket;
  /** The last request begun, until it is over: what a parser's error in the middle of a body belongs to. */
  last: Exchange | undefined;
  /** The parser has failed and was answered; it fails again for every packet that follows. */
  refused = false;
  /** It came over a bound: its first request is told so. */
  turnedAway = false;
  /** Whether a request on it is in its phases. One at a time: what one changes, the next has to see. */
  underWay = false;
  /** Those that came behind it, in their order. */
  readonly waiting: Waiting[] = [];
  /** What the parser found wrong behind all of them; the answers to them come first. */
  faultBehind: Refusal | undefined;
  /** How fast its client is, while a request is under way. */
  pace: Pace | undefined;
  #peer: Peer;
  #trust: Trust | undefined;
  readonly #open = new Set<Ending>();
  #closed = false;
  /** What its last answer said, once that is all that is kept of it. */
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    this.#peer = { address: normalizeAddress(socket.remoteAddress) ?? 'unix', isTrusted: false };
    socket.once('close', () => {
      this.#closed = true;
      const open = [...this.#open];
      this.#open.clear();
      callAll(open.map((ending) => () => ending.end()));
    });
  }

  /** Who is at its other end, as this configuration sees them; `unix` for who has no address. */
  peerBy(trust: Trust): Peer {
    if (trust === this.#trust) return this.#peer;
    const { address } = this.#peer;
    this.#peer = { address, isTrusted: trust(address) };
    this.#trust = trust;
    return this.#peer;
  }

  /**
   * Whether its last answer said that it ends, so that bytes behind it are no request (RFC 9112 §9.6); or whether it
   * was refused as a whole.
   */
  get ends(): boolean {
    return this.refused || this.saidLast;
  }

  /** The first half of `ends`. */
  get saidLast(): boolean {
    const { last } = this;
    // An answer also ends it to whom asked for that, or speaks HTTP/1.0, or has shown a certificate of before.
    return this.#ended || (last !== undefined && (last.endsConnection || !last.response.shouldKeepAlive));
  }

  /** Behind the one under way. */
  wait(waiting: Waiting): void {
    this.waiting.push(waiting);
    if (announcedBytes(this.waiting) <= waitingBytesMax) return;
    // node:http reads on at the end of each message: it is stopped behind those of the packet at hand.
    queueMicrotask(() => {
      if (this.waiting.length > 0) this.socket.pause();
    });
  }

  /** Nothing waits any more. */
  listen(): void {
    if (this.socket.isPaused()) this.socket.resume();
  }

  /** Nothing is under way. An idle connection would keep a request, an answer and an exchange: 7 KiB for each client. */
  rest(): void {
    this.pace = undefined;
    if (this.last?.request.complete !== true) return;
    this.#ended ||= this.saidLast;
    this.last = undefined;
  }

  /** Whether a request on it has not been answered whole. */
  get isBusy(): boolean {
    return this.waiting.length > 0 || (this.last !== undefined && !this.last.response.writableFinished);
  }

  /**
   * What else has been received is not parsed. node:http makes a request and a response of all that one packet holds,
   * two thousand of them perhaps, and keeps them until the socket is closed: 500 such connections cost 700 MiB. No
   * option and no method ends that, so its parser is told that something else is spoken from here on.
   */
  ignoreTheRest(): void {
    const { parser } = this.socket as unknown as { parser?: { onIncoming: unknown } | null };
    if (parser) parser.onIncoming = () => upgraded;
  }

  /**
   * When a response has been handed over whole, or the connection was cut. A response that waits for its turn behind
   * another one hears nothing of the connection's end, so both are listened to.
   */
  endingOf(response: NodeJS.EventEmitter): Ending {
    const ending = new Ending();
    if (this.#closed) {
      ending.end();
      return ending;
    }
    this.#open.add(ending);
    response.on('close', () => {
      this.#open.delete(ending);
      ending.end();
    });
    return ending;
  }
}

/** Of bodies; a chunked one announces any number. */
function announcedBytes(waiting: readonly Waiting[]): number {
  let bytes = 0;
  for (const { request } of waiting)
    bytes += request.headers['transfer-encoding'] === undefined ? declaredBytes(request) : Infinity;
  return bytes;
}

/** What node:http's parser takes for the end of HTTP on this connection. */
const upgraded = 2;
