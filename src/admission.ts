/** Who may hold a connection: so many in all, and so many from one address. */
import { addressPartition } from './http/client-address.ts';

export interface AdmissionLimits {
  /** Connections at once. */
  readonly connectionsMax: number;
  /** Of them, from one address (IPv6: one /64). */
  readonly connectionsPerAddressMax: number;
}

/** Which bound a connection ran into; a metric's label. */
export type ConnectionBound = 'all' | 'address';
export const connectionBounds = ['all', 'address'] as const satisfies readonly ConnectionBound[];

export class Admission {
  readonly #limits: AdmissionLimits;
  /** Entries go with their last connection, so there are never more than connections. */
  readonly #byPartition = new Map<string, number>();
  #open = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Connections that have a place. */
  get open(): number {
    return this.#open;
  }

  /**
   * Takes a place for a connection, to be given back by {@link leave}.
   * @param counted false for a trusted proxy, behind which everybody may be
   * @returns the bound that is reached, and then no place was taken
   */
  enter(address: string, counted: boolean): ConnectionBound | undefined {
    const partition = addressPartition(address);
    const held = this.#byPartition.get(partition) ?? 0;
    if (counted && held >= this.#limits.connectionsPerAddressMax) return 'address';
    if (this.#open >= this.#limits.connectionsMax) return 'all';
    this.#open += 1;
    this.#byPartition.set(partition, held + 1);
    return undefined;
  }

  leave(address: string): void {
    const partition = addressPartition(address);
    const held = this.#byPartition.get(partition) ?? 0;
    this.#open -= 1;
    if (held <= 1) this.#byPartition.delete(partition);
    else this.#byPartition.set(partition, held - 1);
  }
}
