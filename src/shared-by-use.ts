/** What several configurations may need alike: opened for the first that asks, closed after the last that lets go. */

interface Entry<Thing> {
  readonly thing: Thing;
  users: number;
}

/** One that is held. */
export interface Held<Thing> {
  readonly thing: Thing;
  /** Resolves when it is closed, or at once while others hold it. Called once. */
  release(): Promise<void>;
}

export class SharedByUse<Thing> {
  readonly #entries = new Map<string, Entry<Thing>>();
  readonly #close: (thing: Thing) => void | Promise<void>;

  constructor(close: (thing: Thing) => void | Promise<void>) {
    this.#close = close;
  }

  /** All that are open. */
  things(): Thing[] {
    return [...this.#entries.values()].map(({ thing }) => thing);
  }

  /** @param settings plain values; things of equal settings are one thing */
  hold(settings: unknown, open: () => Thing): Held<Thing> {
    const key = JSON.stringify(settings);
    const entry = this.#entries.get(key) ?? { thing: open(), users: 0 };
    entry.users += 1;
    this.#entries.set(key, entry);
    return {
      thing: entry.thing,
      release: async () => {
        entry.users -= 1;
        if (entry.users > 0) return;
        this.#entries.delete(key);
        await this.#close(entry.thing);
      },
    };
  }
}
