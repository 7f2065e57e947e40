/** A service behind the gateway: its addresses, which of them is next, and how many requests may be on their way. */
import type { Clock } from '../clock.ts';
import { Refusal } from '../errors.ts';
import { Circuit } from './circuit.ts';
import { HealthCheck, type HealthOptions } from './health-check.ts';
import { Address, type AddressOptions } from './upstream-address.ts';

export interface UpstreamOptions extends Omit<AddressOptions, 'url' | 'onChange'> {
  readonly name: string;
  /** `http://host:port` or `unix:/path`; at least one, none twice. `connections` are for each. */
  readonly urls: readonly string[];
  /** Requests that may wait for a socket. */
  readonly pending: number;
  /** Where the service describes itself (OpenAPI). */
  readonly openapiPath: string | undefined;
  /** Failures in a row after which nothing is sent for a while; 0 is never. */
  readonly breakAfter: number;
  readonly breakMs: number;
  readonly health: HealthOptions | undefined;
  readonly clock: Clock;
  /** From 0 to 1. */
  random(): number;
  /** What `state` says has changed, by what happened at this address. */
  onChange(state: UpstreamState, address: Address): void;
}

export interface UpstreamState {
  /** Whether any address is thought to answer. */
  readonly up: boolean;
  /** Addresses left out. */
  readonly ejected: number;
}

/** Seconds after which a saturated upstream may have room. */
const saturatedRetrySeconds = 1;

const nobodyAsks = () => undefined;

/** Errors that say that an address fails. Its own 5xx, and an answer that breaks off, are the application's. */
const failures = new Set(['upstream_unreachable', 'upstream_timeout', 'upstream_invalid']);

/** Whether an error is one that counts against an address. */
export function isFailureOfUpstream(error: unknown): boolean {
  return error instanceof Refusal && failures.has(error.code);
}

/** Whether a connection ended under a request, rather than not coming about, being silent or talking nonsense. */
export function wasCut(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

/**
 * Whether it counts against the upstream as a whole: no connection, or silence. A connection cut off and nonsense may
 * be what one caller's requests bring about, and that caller must not be able to close the way for all.
 */
function opensCircuit(error: unknown): boolean {
  if (!(error instanceof Refusal)) return false;
  return error.code === 'upstream_timeout' || (error.code === 'upstream_unreachable' && !wasCut(error.cause));
}

export class Upstream {
  readonly name: string;
  readonly #circuit: Circuit;
  readonly openapiPath: string | undefined;
  readonly #addresses: readonly Address[];
  readonly #checks: readonly HealthCheck[];
  readonly #inFlightMax: number;
  #inFlight = 0;
  /** Where the next look for the least busy address begins, so that equals take turns. */
  #turn = 0;

  constructor(options: UpstreamOptions) {
    const { name, urls, connections, pending, openapiPath, health, random } = options;
    this.name = name;
    this.openapiPath = openapiPath;
    this.#inFlightMax = connections * urls.length + pending;
    this.#circuit = new Circuit({
      failures: options.breakAfter,
      waitMs: options.breakMs,
      isFailure: opensCircuit,
    });
    const onChange = (address: Address) => options.onChange(this.state, address);
    this.#addresses = urls.map((url) => new Address({ ...options, url, onChange }));
    this.#checks =
      health === undefined
        ? []
        : this.#addresses.map(
            (address) => new HealthCheck(address.url, health, random, (well) => address.setHealth(well)),
          );
  }

  get state(): UpstreamState {
    return {
      up: this.#addresses.some(({ isUp }) => isUp),
      ejected: this.#addresses.filter(({ isOut }) => isOut).length,
    };
  }

  /**
   * The turn of one request: a place among those under way, and the circuit's word before and after.
   * @param send calls `onAnswer` once the upstream has shown that it is there
   * @throws `upstream_saturated`, `upstream_unavailable`, and what `send` throws
   */
  carry(send: (onAnswer: () => void) => Promise<void>): Promise<void> {
    if (this.#inFlight >= this.#inFlightMax)
      return Promise.reject(new Refusal('upstream_saturated', { retryAfterSeconds: saturatedRetrySeconds }));
    this.#inFlight += 1;
    return this.#circuit.isClosed
      ? send(nobodyAsks).then(this.#onCarried, this.#onFailed)
      : this.#circuit.attempt(send).finally(() => {
          this.#inFlight -= 1;
        });
  }

  // One of each, since every request needs them.
  readonly #onCarried = () => {
    this.#inFlight -= 1;
    this.#circuit.succeeded();
  };
  readonly #onFailed = (error: unknown) => {
    this.#inFlight -= 1;
    this.#circuit.failed(error);
    throw error;
  };

  /**
   * Where a request goes: of the addresses that are in, the least busy one, equals in turn. With all of them out it is
   * sent all the same, since the verdict may be wrong and there is nothing to lose; the circuit breaker refuses.
   * @param tried where it has been in vain
   */
  next(tried: readonly Address[] = []): Address | undefined {
    if (this.#addresses.length === 1) return tried.length === 0 ? this.#addresses[0] : undefined;
    this.#turn = (this.#turn + 1) % this.#addresses.length;
    return (
      this.#leastBusy((address) => address.isOpen && !tried.includes(address)) ??
      this.#leastBusy((address) => !tried.includes(address))
    );
  }

  #leastBusy(isTaken: (address: Address) => boolean): Address | undefined {
    let best: Address | undefined;
    for (let step = 0; step < this.#addresses.length; step += 1) {
      const address = this.#addresses[(this.#turn + step) % this.#addresses.length];
      if (address === undefined || !isTaken(address)) continue;
      if (best === undefined || address.inFlight < best.inFlight) best = address;
    }
    return best;
  }

  async close(): Promise<void> {
    await Promise.all(this.#checks.map((check) => check.close()));
    await Promise.all(this.#addresses.map(({ pool }) => pool.destroy()));
  }
}
