/** The end of an exchange, which several parts wait for: each is called back once. Every request has one. */
export class Ending {
  /** Undefined once it is over. */
  #listeners: Array<() => void> | undefined = [];

  /** Calls back when it is over: in the same turn, before this returns where it is over already. */
  whenOver(listener: () => void): void {
    if (this.#listeners === undefined) listener();
    else this.#listeners.push(listener);
  }

  /** Resolves when it is over. */
  over(): Promise<void> {
    return new Promise((resolve) => this.whenOver(resolve));
  }

  /** @throws what the first listener throws that does, once all were called */
  end(): void {
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (listeners !== undefined) callAll(listeners);
  }
}

/** None keeps another from being called. @throws the first error, once all were called */
export function callAll(listeners: Iterable<() => void>): void {
  const errors: unknown[] = [];
  for (const listener of listeners) {
    try {
      listener();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
