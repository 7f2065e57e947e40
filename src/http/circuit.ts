/**
 * A circuit breaker over one upstream. While all goes well it costs nothing but two comparisons: cockatiel is told of
 * failures, of the first success after them, and asked to carry a request only while the circuit is not closed.
 */
import {
  BrokenCircuitError,
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleWhen,
} from 'cockatiel';
import { Refusal } from '../errors.ts';

export interface CircuitOptions {
  /** Failures in a row after which nothing is sent; 0 never opens it. */
  readonly failures: number;
  /** Then for so long; after that one request finds out. */
  readonly waitMs: number;
  /** Whether an error says that the upstream fails; any other says nothing. */
  isFailure(error: unknown): boolean;
}

export class Circuit {
  readonly #policy: CircuitBreakerPolicy | undefined;
  readonly #options: CircuitOptions;
  /** Whether there was a failure since the last success. */
  #failing = false;

  constructor(options: CircuitOptions) {
    const { failures, waitMs } = options;
    this.#options = options;
    this.#policy =
      failures === 0
        ? undefined
        : circuitBreaker(
            handleWhen((error) => options.isFailure(error)),
            { halfOpenAfter: waitMs, breaker: new ConsecutiveBreaker(failures) },
          );
  }

  /** Whether requests pass without being asked about. */
  get isClosed(): boolean {
    return this.#policy === undefined || this.#policy.state === CircuitState.Closed;
  }

  /** While it is closed: a request has been answered. */
  succeeded(): void {
    if (!this.#failing) return;
    this.#failing = false;
    this.#tell(async () => undefined);
  }

  /** While it is closed: a request has ended with an error. */
  failed(error: unknown): void {
    if (this.#policy === undefined || !this.#options.isFailure(error)) return;
    this.#failing = true;
    this.#tell(() => Promise.reject(error));
  }

  #tell(outcome: () => Promise<void>): void {
    // Its own clock may have moved on since the request was sent: what is old must not decide over a trial.
    if (this.#policy?.state !== CircuitState.Closed) return;
    this.#policy.execute(outcome).catch(() => undefined);
  }

  /**
   * While it is not closed: sends the one request that finds out, if it is time, and refuses any other.
   * @param send calls `onAnswer` when the upstream is seen to be there, which decides; the rest may take its time
   * @throws `upstream_unavailable`, and what `send` throws
   */
  async attempt(send: (onAnswer: () => void) => Promise<void>): Promise<void> {
    const policy = this.#policy;
    if (policy === undefined) return send(() => undefined);
    // The library would let it wait for the one under way.
    if (policy.state === CircuitState.HalfOpen) throw this.#refusal();
    let sent: Promise<void> | undefined;
    try {
      await policy.execute(() => {
        return new Promise<void>((resolve, reject) => {
          sent = send(resolve);
          sent.then(resolve, reject);
        });
      });
      this.#failing = false;
    } catch (error) {
      throw error instanceof BrokenCircuitError ? this.#refusal() : error;
    }
    await sent;
  }

  #refusal(): Refusal {
    const retryAfterSeconds = Math.max(1, Math.ceil(this.#options.waitMs / 1_000));
    return new Refusal('upstream_unavailable', { retryAfterSeconds });
  }
}
