/** What the server knows of one client's connection, beside what node:http keeps. */
import type { Socket } from 'node:net';
import type { Exchange } from './exchange.ts';
import type { Pace } from './pace.ts';

export class Connection {
  readonly socket: Socket;
  /** The last request begun, until it is over: what a parser's error in the middle of a body belongs to. */
  last: Exchange | undefined;
  /** The parser has failed and was answered; it fails again for every packet that follows. */
  refused = false;
  /** It came over a bound: its first request is told so. */
  turnedAway = false;
  /** Requests on it that are not answered yet. */
  underWay = 0;
  /** How fast its client is, while a request is under way. */
  pace: Pace | undefined;
  readonly #whenClosed = new Set<() => void>();
  #closed = false;
  /** What its last answer said, once that is all that is kept of it. */
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.once('close', () => {
      this.#closed = true;
      for (const tell of this.#whenClosed) tell();
      this.#whenClosed.clear();
    });
  }

  /**
   * Whether its last answer said that it ends, so that bytes behind it are no request (RFC 9112 §9.6); or whether it
   * was refused as a whole.
   */
  get ends(): boolean {
    return this.refused || this.#ended || this.last?.endsConnection === true;
  }

  /** Nothing is under way. An idle connection would keep a request, an answer and an exchange: 7 KiB for each client. */
  rest(): void {
    this.pace = undefined;
    if (this.last?.request.complete !== true) return;
    this.#ended ||= this.last.endsConnection;
    this.last = undefined;
  }

  /** Whether a request on it has not been answered whole. */
  get isBusy(): boolean {
    return this.last !== undefined && !this.last.response.writableFinished;
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
   * Resolves once a response has been handed over whole, or the connection was cut. A response that waits for its
   * turn behind another one hears nothing of the connection's end, so both are listened to.
   */
  closed(response: NodeJS.EventEmitter): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#whenClosed.delete(done);
        resolve();
      };
      if (this.#closed) return done();
      this.#whenClosed.add(done);
      response.once('close', done);
    });
  }
}

/** What node:http's parser takes for the end of HTTP on this connection. */
const upgraded = 2;
