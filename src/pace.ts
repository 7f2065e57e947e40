/**
 * Clients that are too slow: a body has to move, either way, at so many bytes a second. A client may lag behind by
 * the stall time, which it wins back by going faster. Only time in which the client is waited for counts, so that a
 * slow upstream, or a stream with nothing to say, is never held against it.
 */
import type { Socket } from 'node:net';
import type { Exchange } from './exchange.ts';

export interface PaceLimits {
  /** Bytes a second; at 0, any byte is enough. */
  readonly minRate: number;
  readonly stallMs: number;
}

/** How far a client has fallen behind in one direction. */
export class Allowance {
  readonly #limits: PaceLimits;
  #creditMs: number;

  constructor(limits: PaceLimits) {
    this.#limits = limits;
    this.#creditMs = limits.stallMs;
  }

  /**
   * @param waitedMs how long the client was waited for since the last time; 0 when it was not
   * @param movedBytes what it sent or took meanwhile
   * @returns whether it has lagged behind for longer than the stall time
   */
  isUsedUp(waitedMs: number, movedBytes: number): boolean {
    const { minRate, stallMs } = this.#limits;
    const wonMs = movedBytes === 0 ? 0 : minRate === 0 ? stallMs : (movedBytes * 1_000) / minRate;
    this.#creditMs = Math.min(stallMs, this.#creditMs - waitedMs + wonMs);
    return this.#creditMs < 0;
  }
}

/** Which side of one connection is too slow. */
export type Laggard = 'sender' | 'reader';

/** One connection, looked at again and again while a request is under way on it. */
export class Pace {
  readonly #socket: Socket;
  readonly #sending: Allowance;
  readonly #reading: Allowance;
  #received: number;
  #taken: number;
  #goingBytes: number;

  constructor(socket: Socket, limits: PaceLimits) {
    this.#socket = socket;
    this.#sending = new Allowance(limits);
    this.#reading = new Allowance(limits);
    this.#received = socket.bytesRead;
    this.#taken = socket.bytesWritten - socket.writableLength;
    this.#goingBytes = goingBytes(socket);
  }

  /** @param elapsedMs since the last look */
  laggard(exchange: Exchange, elapsedMs: number): Laggard | undefined {
    const isRead = this.#socket.writableLength === 0;
    const reads = this.#reading.isUsedUp(isRead ? 0 : elapsedMs, this.#takenBytes());
    const sends = this.#sending.isUsedUp(awaitsBody(exchange) ? elapsedMs : 0, this.#receivedBytes());
    if (reads) return 'reader';
    return sends ? 'sender' : undefined;
  }

  #receivedBytes(): number {
    const before = this.#received;
    this.#received = this.#socket.bytesRead;
    return this.#received - before;
  }

  /** Whole blocks that are gone, or what is gone of the one that is going. */
  #takenBytes(): number {
    const [takenBefore, goingBefore] = [this.#taken, this.#goingBytes];
    this.#taken = this.#socket.bytesWritten - this.#socket.writableLength;
    this.#goingBytes = goingBytes(this.#socket);
    return Math.max(this.#taken - takenBefore, goingBefore - this.#goingBytes);
  }
}

/** Somebody reads the body, all that came has been read, and it is not the whole. */
function awaitsBody({ request }: Exchange): boolean {
  return !request.complete && request.readableDidRead && request.readableLength === 0;
}

/**
 * What the kernel has not taken yet of the block that was handed to it. The stream counts a block, of a megabyte
 * perhaps, until all of it is gone; only the handle knows better, and node:net asks it for its own timeout.
 */
function goingBytes(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { writeQueueSize?: number } | null };
  return handle?.writeQueueSize ?? 0;
}
