/**
 * An outlet that delivers in batches, one at a time, in order and at least once: a batch is repeated until its
 * receiver has taken it. Whoever gets a record twice knows it by `id` and `stage`.
 */
import {
  droppedTellMs,
  outletBatchLinesMax,
  outletCloseMs,
  outletRetryAfterMsMax,
  outletRetryMaxMs,
  outletRetryMinMs,
  outletStallMs,
} from '../../limits.ts';
import type { Backlog } from './backlog.ts';
import type { Outlet } from './outlet.ts';

/** What a receiver is to a delivery. */
export interface Receiver {
  /**
   * Resolves when the receiver has taken all of it.
   * @throws UnacceptableError when it never will; anything else is tried again
   */
  send(lines: readonly string[], signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** The receiver has read the batch and will not have it: too large, or malformed in its eyes. */
export class UnacceptableError extends Error {}

/** The receiver has said when to come again. */
export class LaterError extends Error {
  readonly afterMs: number;

  constructor(message: string, afterMs: number) {
    super(message);
    this.afterMs = afterMs;
  }
}

export interface DeliveryEvents {
  /** Called when the receiver stops or starts taking records. */
  onUp(up: boolean, error: unknown): void;
  onDelivered(count: number): void;
  onDropped(count: number): void;
  /** Asked now and then, with what was dropped since, to put it on record. */
  tellDropped(count: number): void;
}

export interface DeliveryOptions {
  readonly name: string;
  readonly receiver: Receiver;
  readonly backlog: Backlog;
  /** Bytes that make a batch whole. */
  readonly batchBytes: number;
  /** How long the first line of a batch waits for others. */
  readonly batchMs: number;
  readonly events: DeliveryEvents;
  /** From 0 to 1, below 1; spreads the retries of many gateways. */
  random(): number;
}

export class Delivery implements Outlet {
  readonly name: string;
  readonly #options: DeliveryOptions;
  readonly #running: Promise<void>;
  readonly #ending = new AbortController();
  #linesMax = outletBatchLinesMax;
  #failures = 0;
  #lastError: unknown;
  /** Waiting for a first line, or for more behind it. */
  #isIdle = false;
  #isGathering = false;
  #closing = false;
  #closed: Promise<void> | undefined;
  #flushing = false;
  /** Ends the wait for the next line, for the rest of a batch, or for the next try. */
  #wake: () => void = () => undefined;
  #whenFlushed: Array<() => void> = [];
  #dropped = 0;
  #tellTimer: NodeJS.Timeout | undefined;

  constructor(options: DeliveryOptions) {
    this.name = options.name;
    this.#options = options;
    this.#running = this.#run();
  }

  offer(line: string): void {
    const { backlog, batchBytes } = this.#options;
    if (this.#closing || !backlog.push(line)) this.#drop(1);
    else if (this.#isIdle || (this.#isGathering && backlog.bytes >= batchBytes)) this.#wake();
  }

  flush(): Promise<void> {
    if (this.#closing || this.#options.backlog.isEmpty) return Promise.resolve();
    this.#flushing = true;
    const flushed = new Promise<void>((resolve) => this.#whenFlushed.push(resolve));
    this.#wake();
    return flushed;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const deadline = setTimeout(() => this.#end(), outletCloseMs);
    await this.flush();
    this.#closing = true;
    this.#end();
    clearTimeout(deadline);
    await this.#running;
    const lost = await this.#options.backlog.close();
    if (lost > 0) this.#drop(lost);
    this.#tellDropped();
    await this.#options.receiver.close();
  }

  #end(): void {
    this.#closing = true;
    this.#ending.abort();
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#closing) {
      if (this.#options.backlog.isEmpty) await this.#idle();
      else if (!(await this.#deliver())) await this.#pause();
    }
    this.#flushed();
  }

  /** Until there is something, and then a moment for more to come. */
  async #idle(): Promise<void> {
    this.#flushed();
    this.#isIdle = true;
    await this.#sleep(undefined);
    this.#isIdle = false;
    if (this.#flushing || this.#closing) return;
    this.#isGathering = true;
    await this.#sleep(this.#options.batchMs);
    this.#isGathering = false;
  }

  /** Sends one batch. False when it has to be tried again later. */
  async #deliver(): Promise<boolean> {
    const lines = await this.#nextBatch();
    if (lines === undefined) return false;
    if (lines.length === 0) return true;
    const { backlog, receiver, events } = this.#options;
    const stall = setTimeout(() => this.#failed(new Error('the receiver does not answer')), outletStallMs);
    try {
      await receiver.send(lines, this.#ending.signal);
      await backlog.shift(lines.length);
      events.onDelivered(lines.length);
      this.#linesMax = Math.min(outletBatchLinesMax, this.#linesMax * 2);
      this.#recovered();
      return true;
    } catch (error) {
      if (error instanceof UnacceptableError) return this.#divide(lines.length, error);
      if (!this.#closing) this.#failed(error);
      return false;
    } finally {
      clearTimeout(stall);
    }
  }

  /** `undefined` when the disk does not give back what waits there. */
  async #nextBatch(): Promise<string[] | undefined> {
    try {
      return await this.#options.backlog.peek(this.#options.batchBytes, this.#linesMax);
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  /** Half of it may pass; one line that does not is given up, so that those behind it are not held for ever. */
  async #divide(count: number, error: UnacceptableError): Promise<boolean> {
    this.#linesMax = Math.max(1, Math.floor(count / 2));
    if (count > 1) return true;
    await this.#options.backlog.shift(1);
    this.#drop(1);
    this.#failed(error);
    // Its connection is good: the next line may be taken at once.
    return true;
  }

  #failed(error: unknown): void {
    this.#lastError = error;
    if (this.#failures === 0) this.#options.events.onUp(false, error);
    this.#failures += 1;
  }

  #recovered(): void {
    if (this.#failures > 0) this.#options.events.onUp(true, undefined);
    this.#failures = 0;
  }

  /** Jittered and doubled each time, or what the receiver asked for. */
  async #pause(): Promise<void> {
    this.#flushed();
    const doubled = Math.min(outletRetryMaxMs, outletRetryMinMs * 2 ** Math.min(this.#failures - 1, 16));
    const jittered = doubled * (0.5 + this.#options.random() / 2);
    const asked = this.#lastError instanceof LaterError ? this.#lastError.afterMs : 0;
    if (!this.#closing) await this.#sleep(Math.max(jittered, Math.min(asked, outletRetryAfterMsMax)));
  }

  #flushed(): void {
    this.#flushing = false;
    for (const resolve of this.#whenFlushed.splice(0)) resolve();
  }

  /** @param ms without it, until somebody wakes it */
  #sleep(ms: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #drop(count: number): void {
    this.#options.events.onDropped(count);
    this.#dropped += count;
    this.#tellTimer ??= setTimeout(() => this.#tellDropped(), droppedTellMs).unref();
  }

  #tellDropped(): void {
    clearTimeout(this.#tellTimer);
    this.#tellTimer = undefined;
    const count = this.#dropped;
    this.#dropped = 0;
    if (count > 0) this.#options.events.tellDropped(count);
  }
}
