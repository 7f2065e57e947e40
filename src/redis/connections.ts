/** Where every connection of this process to the configured Redis is opened, and at the end closed. */
import { type OnState, RedisClient, RedisSubscriber } from './connection.ts';
import { type RedisLocation, redisTlsOptions } from './url.ts';

export class RedisConnections {
  readonly #location: RedisLocation;
  readonly #open: Array<RedisClient | RedisSubscriber> = [];

  /**
   * Connects to nothing yet.
   * @throws RedisUrlError for a certificate's file that cannot be read
   */
  constructor(location: RedisLocation) {
    redisTlsOptions(location);
    this.#location = location;
  }

  get topology(): RedisLocation['topology'] {
    return this.#location.topology;
  }

  /**
   * A client with a connection of its own. It returns at once, connected or not: a Redis that is away holds up no start.
   * @param purpose one word, for the server's list of clients: `portcullis:<purpose>`
   */
  client(purpose: string, onState: OnState): RedisClient {
    const client = new RedisClient(this.#location, `portcullis:${purpose}`, onState);
    this.#open.push(client);
    return client;
  }

  /** Hears `channels` over a connection of its own; likewise at once. */
  subscriber(
    purpose: string,
    options: {
      readonly channels: readonly string[];
      readonly onMessage: (channel: string, message: string) => void;
      readonly onState: OnState;
    },
  ): RedisSubscriber {
    const subscriber = new RedisSubscriber(this.#location, `portcullis:${purpose}`, options);
    this.#open.push(subscriber);
    return subscriber;
  }

  /** All of them, however Redis is. */
  async close(): Promise<void> {
    await Promise.all(this.#open.map((one) => one.close()));
  }
}
