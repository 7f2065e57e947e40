/** A Redis stream as a receiver: one entry a record, its line in the field `record`, the oldest trimmed away. */
import type { RedisClient } from '../../redis/connection.ts';
import type { Receiver } from './delivery.ts';

export class RedisStreamReceiver implements Receiver {
  readonly #client: RedisClient;
  readonly #closeAll: () => Promise<void>;
  readonly #stream: string;
  readonly #lengthMax: number;

  /** @param closeAll lets go of the client */
  constructor(client: RedisClient, closeAll: () => Promise<void>, stream: string, lengthMax: number) {
    this.#client = client;
    this.#closeAll = closeAll;
    this.#stream = stream;
    this.#lengthMax = lengthMax;
  }

  /** Sent one behind the other without waiting; when one fails, all of them are sent again. */
  async send(lines: readonly string[]): Promise<void> {
    const sent = lines.map((line) =>
      this.#client.send(
        'XADD',
        this.#stream,
        'MAXLEN',
        '~',
        this.#lengthMax,
        '*',
        'record',
        line.slice(0, -1),
      ),
    );
    const failed = (await Promise.allSettled(sent)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  close(): Promise<void> {
    return this.#closeAll();
  }
}
