/** The WebSockets that are open: how many there may be, and their end when the gateway ends. */
import type { Socket } from 'node:net';
import { Refusal } from '../errors.ts';

export interface TunnelsOptions {
  /** At once. */
  readonly max: number;
  /** Of one caller. */
  readonly perCallerMax: number;
  /** How long a credential that cannot be verified again is trusted, since it last was. */
  readonly stalenessMaxMs: number;
  onCount(open: number): void;
}

/** Seconds after which there may be room. */
const retrySeconds = 5;

/** Ends one tunnel, for the reason given. */
type End = (reason: Refusal) => void;

export class Tunnels {
  readonly stalenessMaxMs: number;
  readonly #options: TunnelsOptions;
  readonly #byCaller = new Map<string, number>();
  readonly #ends = new Set<End>();
  /** Sockets that node:http has let go of, until what came of them is on record. */
  readonly #sockets = new Map<Socket, Promise<void>>();
  #count = 0;
  #isEnding = false;

  constructor(options: TunnelsOptions) {
    this.#options = options;
    this.stalenessMaxMs = options.stalenessMaxMs;
  }

  /**
   * Takes a place, from the handshake on.
   * @param caller whose place it is
   * @returns gives the place back; once
   * @throws `shutting_down`, `overloaded`, `too_many_websockets`
   */
  enter(caller: string): () => void {
    if (this.#isEnding) throw new Refusal('shutting_down', { retryAfterSeconds: 1 });
    const ofCaller = this.#byCaller.get(caller) ?? 0;
    const { max, perCallerMax } = this.#options;
    if (ofCaller >= perCallerMax)
      throw new Refusal('too_many_websockets', { retryAfterSeconds: retrySeconds });
    if (this.#count >= max) {
      const detail = 'Too many WebSockets are open. Please try again later.';
      throw new Refusal('overloaded', { detail, retryAfterSeconds: retrySeconds });
    }
    this.#byCaller.set(caller, ofCaller + 1);
    this.#change(1);
    return () => {
      const left = (this.#byCaller.get(caller) ?? 1) - 1;
      if (left === 0) this.#byCaller.delete(caller);
      else this.#byCaller.set(caller, left);
      this.#change(-1);
    };
  }

  #change(by: number): void {
    this.#count += by;
    this.#options.onCount(this.#count);
  }

  /** Has `end` called when the gateway ends. @returns takes it back */
  whenEnding(end: End): () => void {
    if (this.#isEnding) end(new Refusal('shutting_down'));
    this.#ends.add(end);
    return () => this.#ends.delete(end);
  }

  /** Nobody else knows this socket any longer. @param handled resolves when its request is over and on record */
  keep(socket: Socket, handled: Promise<void>): void {
    this.#sockets.set(socket, handled);
    void handled.then(() => this.#sockets.delete(socket));
  }

  /** Ends them all, and lets none in any more; resolves when they are on record. */
  /** @param graceMs milliseconds after which what is left is cut off */
  async end(graceMs: number): Promise<void> {
    this.#isEnding = true;
    for (const end of this.#ends) end(new Refusal('shutting_down'));
    const cut = setTimeout(() => {
      for (const socket of this.#sockets.keys()) socket.destroy();
    }, graceMs);
    await Promise.all(this.#sockets.values());
    clearTimeout(cut);
  }
}
