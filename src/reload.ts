/** Loads the configuration anew while the gateway runs: when its files change, and when it is asked to. */

import type { LoadedConfig } from './config/load.ts';
import { ConfigError, formatProblem } from './config/problem.ts';
import type { ConfigSource } from './config/source.ts';
import { type FileWatch, watchFiles } from './config/watch.ts';

/** A configuration that is good in itself and cannot be taken while the gateway runs. */
export class ReloadError extends Error {
  readonly reasons: readonly string[];

  constructor(reasons: readonly string[]) {
    super(reasons.join('\n'));
    this.reasons = reasons;
  }
}

export interface Reloadable {
  /** Puts it in force whole, or not at all. @throws ReloadError, StartError */
  reload(loaded: LoadedConfig): Promise<void>;
  /** The old one stays. @param reasons what is wrong, a sentence each */
  refused(reasons: readonly string[]): void;
}

export class Reloads {
  readonly #source: ConfigSource;
  readonly #target: Reloadable;
  #watch: FileWatch;
  #watched: string;
  /** One at a time; what happens meanwhile is looked at afterwards. */
  #turn: Promise<void> = Promise.resolve();
  #isWaiting = false;
  #closed = false;

  constructor(source: ConfigSource, target: Reloadable) {
    this.#source = source;
    this.#target = target;
    this.#watched = source.files.join('\n');
    this.#watch = watchFiles(source.files, () => this.#soon());
  }

  /** Whether anything has changed or not. Resolves when it is done. */
  now(): Promise<void> {
    this.#turn = this.#turn.then(() => this.#load());
    return this.#turn;
  }

  /** Resolves when what is under way is over. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#watch.close();
    await this.#turn;
  }

  #soon(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#turn = this.#turn.then(async () => {
      this.#isWaiting = false;
      if (!this.#closed && (await this.#source.isNew())) await this.#load();
    });
  }

  async #load(): Promise<void> {
    if (this.#closed) return;
    try {
      await this.#target.reload(this.#source.load());
      this.#follow();
    } catch (error) {
      this.#target.refused(reasonsOf(error));
    }
  }

  /** What the file is made from may be other files now. */
  #follow(): void {
    const files = this.#source.files.join('\n');
    if (files === this.#watched || this.#closed) return;
    this.#watched = files;
    this.#watch.close();
    this.#watch = watchFiles(this.#source.files, () => this.#soon());
  }
}

/** Whatever keeps a new configuration from being taken leaves the old one as it was. */
export function reasonsOf(error: unknown): readonly string[] {
  if (error instanceof ConfigError) return error.problems.map(formatProblem);
  if (error instanceof ReloadError) return error.reasons;
  return [error instanceof Error ? error.message : String(error)];
}
