/** The end of an exchange, which several parts wait for: each is called back once. Every request has one. */
export class Ending {
  /** Undefined once it is over. */
  #listeners: Array<() => void> | undefined = [];

  get isOver(): boolean {
    return this.#listeners === undefined;
  }

  /** Calls back when it is over: in the same turn, before this returns where it is over already. */
  whenOver(listener: () => void): void {
    if (this.#listeners === undefined) listener();
    else this.#listeners.push(listener);
  }

  /** Resolves when it is over. */
  over(): Promise<void> {
    return new Promise((resolve) => this.whenOver(resolve));
  }

  end(): void {
    const listeners = this.#listeners;
    this.#listeners = undefined;
    if (listeners !== undefined) for (const listener of listeners) listener();
  }
}
