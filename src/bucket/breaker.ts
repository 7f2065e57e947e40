/** Stops asking what does not answer, and finds out by itself, with one question at a time, when it answers again. */
import type { RedisFault } from '../redis/fault.ts';

/** One late answer may be a hiccup. */
const failuresMax = 3;
/** Redis saying that it cannot, whatever it is asked, is none. */
const refusals = new Set([
  'BUSY',
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'OOM',
  'READONLY',
]);
/** Between two questions while it is open; up to half as much again, by chance, so that replicas do not ask in step. */
const probeIntervalMs = 300;

export class Breaker {
  readonly #probe: () => Promise<unknown>;
  readonly #onTurn: (fault: RedisFault | undefined) => void;
  #isOpen = false;
  #isProbing = false;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param probe a question that changes nothing that matters; rejects when there is no good answer
   * @param onTurn told when it has opened, with the fault, and when it has closed
   */
  constructor(probe: () => Promise<unknown>, onTurn: (fault: RedisFault | undefined) => void) {
    this.#probe = probe;
    this.#onTurn = onTurn;
  }

  /** Whether nothing is to be asked. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(fault: RedisFault): void {
    this.#failures += 1;
    if (this.#failures >= failuresMax || refusals.has(fault.reply)) this.open(fault);
  }

  /** At once, where something else has noticed. */
  open(fault: RedisFault): void {
    if (this.#isOpen || this.#isClosed) return;
    this.#isOpen = true;
    this.#onTurn(fault);
    this.#later();
  }

  /** Asks now, where there is reason to hope. */
  async tryNow(): Promise<void> {
    if (!this.#isOpen || this.#isProbing || this.#isClosed) return;
    this.#isProbing = true;
    clearTimeout(this.#timer);
    try {
      await this.#probe();
      this.#failures = 0;
      this.#isOpen = false;
      if (!this.#isClosed) this.#onTurn(undefined);
    } catch {
      this.#later();
    } finally {
      this.#isProbing = false;
    }
  }

  /** Asks nothing more. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #later(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.tryNow(), probeIntervalMs * (1 + Math.random() / 2));
    this.#timer.unref();
  }
}
