/** Asks one address of an upstream, again and again, whether it is well. */
import { Client } from './undici.ts';
import { originOf } from './upstream-address.ts';

export interface HealthOptions {
  readonly path: string;
  readonly intervalMs: number;
  /** From the first packet to the head of the answer. */
  readonly timeoutMs: number;
  /** Answers in a row that make it well, or ill. */
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
}

/** How much earlier or later than the interval, as a share of it: replicas must not ask in step. */
const jitter = 0.2;

export class HealthCheck {
  readonly #options: HealthOptions;
  readonly #client: Client;
  readonly #random: () => number;
  readonly #onVerdict: (healthy: boolean) => void;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  /** Like answers in a row: positive when well, negative when ill. */
  #row = 0;

  /**
   * @param url as an upstream's address
   * @param random from 0 to 1
   * @param onVerdict called whenever enough answers in a row say the same
   */
  constructor(
    url: string,
    options: HealthOptions,
    random: () => number,
    onVerdict: (healthy: boolean) => void,
  ) {
    const { origin, socketPath } = originOf(url);
    this.#options = options;
    this.#random = random;
    this.#onVerdict = onVerdict;
    this.#client = new Client(origin, {
      ...(socketPath !== undefined && { socketPath }),
      // Each on a connection of its own: a listener that takes no more must show.
      pipelining: 0,
      allowH2: false,
      connect: { timeout: options.timeoutMs },
    });
    this.#next(0);
  }

  #next(waitMs: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#ask(), waitMs).unref();
  }

  async #ask(): Promise<void> {
    const isWell = await this.#isWell();
    if (this.#closed) return;
    this.#row = isWell ? Math.max(this.#row, 0) + 1 : Math.min(this.#row, 0) - 1;
    if (this.#row >= this.#options.healthyAfter) this.#onVerdict(true);
    if (-this.#row >= this.#options.unhealthyAfter) this.#onVerdict(false);
    this.#next(this.#options.intervalMs * (1 - jitter + 2 * jitter * this.#random()));
  }

  /** 2xx and 3xx are well. Never rejects. */
  async #isWell(): Promise<boolean> {
    const { path, timeoutMs } = this.#options;
    try {
      const { statusCode, body } = await this.#client.request({
        path,
        method: 'GET',
        headers: { 'user-agent': 'portcullis-health' },
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        signal: AbortSignal.timeout(timeoutMs),
      });
      body.on('error', () => undefined).destroy();
      return statusCode >= 200 && statusCode < 400;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#client.destroy();
  }
}
