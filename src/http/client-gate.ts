/**
 * What stands between a client's socket and the library that joins sockets. The library says its own 101 and joins the
 * two in one go; through the gate nothing passes, either way, before it is opened, and it is opened once the upstream's
 * answer has been judged, recorded and told to the client in our words.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** What the library says first when the upstream's headers have been taken out of its hands. */
const bareSwitch = 'HTTP/1.1 101 Switching Protocols\r\n\r\n';

type OnBytes = (direction: 'in' | 'out', bytes: number) => void;

export class ClientGate extends Duplex {
  readonly #client: Socket;
  #onBytes: OnBytes = () => undefined;
  #isOpen = false;
  #switched = false;
  /** What the upstream has said before the gate is open. */
  #held: (() => void) | undefined;

  constructor(client: Socket) {
    super({ allowHalfOpen: true });
    this.#client = client;
  }

  /**
   * Joins the gate to the client's socket, which must not be read by anyone else from here on.
   * @param onBytes told of bytes from the client as they come (`in`), and to it as they are taken (`out`)
   */
  open(onBytes: OnBytes): void {
    const client = this.#client;
    this.#onBytes = onBytes;
    this.#isOpen = true;
    client.setTimeout(0);
    client.setKeepAlive(true, keepAliveMs);
    client.on('data', (chunk: Buffer) => {
      this.#onBytes('in', chunk.length);
      if (!this.push(chunk)) client.pause();
    });
    client.once('end', () => this.push(null));
    client.once('close', () => this.destroy());
    if (client.destroyed) this.destroy();
    client.resume();
    this.#held?.();
    this.#held = undefined;
  }

  override _read(): void {
    if (this.#isOpen) this.#client.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void): void {
    if (!this.#switched) {
      this.#switched = true;
      // Told to the client already, by us.
      done(chunk.toString('latin1') === bareSwitch ? undefined : new Error('not the 101 that was expected'));
    } else if (this.#isOpen) {
      this.#pass(chunk, done);
    } else {
      this.#held = () => this.#pass(chunk, done);
    }
  }

  #pass(chunk: Buffer, done: (error?: Error) => void): void {
    const taken = () => {
      this.#onBytes('out', chunk.length);
      done();
    };
    if (this.#client.write(chunk)) taken();
    else this.#client.once('drain', taken);
  }

  override _final(done: () => void): void {
    // Flushed first: once both ways have ended, the gate goes, and the socket with it.
    if (this.#isOpen) this.#client.end(() => done());
    else done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#isOpen) this.#client.destroy();
    done(error);
  }

  // What the library asks of a socket. The client's own is set up by us.

  destroySoon(): void {
    this.destroy();
  }

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }
}

/** A client that vanished without a word is found out by the kernel, some minutes later. */
const keepAliveMs = 60_000;
