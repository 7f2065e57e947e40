/** A connection to Redis that knows whether it is up, by asking, and can be closed while the server hangs. */
import { Cluster, type Redis } from 'ioredis';
import { type RedisFault, redisFault } from './fault.ts';
import { openClient, openListener } from './library.ts';
import type { RedisLocation } from './url.ts';

/**
 * Told of each change between up and down, and once of the first state. The fault holds no password.
 * @param fault why it is down
 */
export type OnState = (up: boolean, fault: RedisFault | undefined) => void;

/** How often it is asked for a sign of life. */
const heartbeatMs = 1_000;
/** How long a goodbye may take. */
const goodbyeMs = 300;

/** Sends commands. */
export class RedisClient {
  readonly #library: Redis | Cluster;
  readonly #state: State;

  /** Opened by `RedisConnections`. It connects in the background. */
  constructor(location: RedisLocation, name: string, onState: OnState) {
    this.#library = openClient(location, name);
    this.#state = new State(this.#library, onState);
  }

  /** Whether it answered when it was last asked. */
  get isUp(): boolean {
    return this.#state.isUp;
  }

  /**
   * Sends one command, at most once, and waits a second for its answer. In a cluster it goes where its first key is.
   * @throws RedisFault at once when there is no connection; after an error without `reply` nobody knows whether the
   *   command was carried out
   */
  async send(command: string, ...args: ReadonlyArray<string | number | Buffer>): Promise<unknown> {
    try {
      return await this.#library.call(command, ...args);
    } catch (error) {
      throw redisFault(error);
    }
  }

  /** Waits a moment for what was sent. */
  close(): Promise<void> {
    return this.#state.close();
  }
}

/** Listens to channels; in a cluster to what is published at any of its nodes. What is published while it is down is missed. */
export class RedisSubscriber {
  readonly #state: State;

  constructor(
    location: RedisLocation,
    name: string,
    options: {
      readonly channels: readonly string[];
      readonly onMessage: (channel: string, message: string) => void;
      readonly onState: OnState;
    },
  ) {
    const library = openListener(location, name);
    library.on('message', options.onMessage);
    this.#state = new State(library, options.onState, () => library.subscribe(...options.channels));
  }

  /** Whether it hears its channels. */
  get isUp(): boolean {
    return this.#state.isUp;
  }

  close(): Promise<void> {
    return this.#state.close();
  }
}

/** Up is: connected, prepared, and the last sign of life came. */
class State {
  readonly #library: Redis | Cluster;
  readonly #onState: OnState;
  readonly #prepare: () => Promise<unknown>;
  readonly #timer: NodeJS.Timeout;
  #isUp: boolean | undefined;
  #lastFault: RedisFault | undefined;
  #isClosed = false;
  #isAsking = false;

  /** @param prepare what is to be done on every new connection before it is of use */
  constructor(library: Redis | Cluster, onState: OnState, prepare: () => Promise<unknown> = async () => {}) {
    this.#library = library;
    this.#onState = onState;
    this.#prepare = prepare;
    // Without a listener, the library writes to the console.
    library.on('error', (error: unknown) => this.#fail(error));
    library.on('node error', (error: unknown) => {
      this.#lastFault = redisFault(error);
    });
    library.on('ready', () => void this.#ask(true));
    library.on('close', () => this.#fail(this.#lastFault ?? new Error('Connection is closed.')));
    this.#timer = setInterval(() => void this.#ask(false), heartbeatMs);
    this.#timer.unref();
  }

  get isUp(): boolean {
    return this.#isUp === true;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    if (this.#library.status === 'ready') {
      const goodbye = this.#library.quit().catch(() => undefined);
      await Promise.race([goodbye, new Promise((resolve) => setTimeout(resolve, goodbyeMs))]);
    }
    this.#library.disconnect();
  }

  /** @param isNew whether the connection has just been made */
  async #ask(isNew: boolean): Promise<void> {
    if (this.#isClosed || this.#library.status !== 'ready' || (this.#isAsking && !isNew)) return;
    this.#isAsking = true;
    try {
      if (isNew || !this.isUp) await this.#prepare();
      await signOfLife(this.#library);
      this.#turn(true, undefined);
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isAsking = false;
    }
  }

  #fail(error: unknown): void {
    this.#lastFault = redisFault(error);
    this.#turn(false, this.#lastFault);
  }

  #turn(up: boolean, fault: RedisFault | undefined): void {
    if (this.#isClosed || this.#isUp === up) return;
    this.#isUp = up;
    this.#onState(up, fault);
  }
}

/** Of a cluster, any of its nodes: while one is away, the others answer. */
async function signOfLife(library: Redis | Cluster): Promise<void> {
  if (library instanceof Cluster) await Promise.any(library.nodes('master').map((node) => node.ping()));
  else await library.ping();
}
