/**
 * `last_used_at` of keys. Uses are noted in memory and written beside the requests, many keys in one statement: a
 * round of writing at most once a minute, in small batches with rests between them, so that no number of keys takes
 * more than a small share of the time. A process that is killed loses what it has noted since; one that ends writes all.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock, MonotonicMs, WallMs } from '../clock.ts';
import {
  keyUseBatchRows,
  keyUseRestMsMax,
  keyUsesNotedMax,
  keyUseWriteIntervalMs,
  keyUseWriteShare,
} from '../limits.ts';
import type { IdentityDatabase } from './database.ts';
import { updateKeyUses } from './key-rows.ts';
import { timeText } from './subject.ts';
import type { Time } from './tables.ts';

export class KeyUse {
  readonly #database: Pick<IdentityDatabase, 'run'>;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  /** When each key was last used, of those whose use is not written and not being written. */
  #noted = new Map<string, WallMs>();
  /** Writes what is noted, until there is nothing. */
  #writing: Promise<void> | undefined;
  #nextRoundMs = Number.NEGATIVE_INFINITY as MonotonicMs;
  #isEnding = false;
  #wake: () => void = () => undefined;

  constructor(database: Pick<IdentityDatabase, 'run'>, clock: Clock, onError: (error: unknown) => void) {
    this.#database = database;
    this.#clock = clock;
    this.#onError = onError;
  }

  /** Notes that the key has just been accepted. At every request: it makes no string and no object. */
  note(id: string): void {
    // What does not fit is noted with its next use.
    if (this.#noted.size >= keyUsesNotedMax && !this.#noted.has(id)) return;
    this.#noted.set(id, this.#clock.wallMs());
    this.#writing ??= this.#write();
  }

  /** Writes all that was noted, without resting; resolves once it is done, or has failed. */
  async close(): Promise<void> {
    this.#isEnding = true;
    this.#wake();
    await this.#writing;
  }

  async #write(): Promise<void> {
    while (this.#noted.size > 0) {
      await this.#rest(this.#nextRoundMs - this.#clock.monotonicMs());
      this.#nextRoundMs = (this.#clock.monotonicMs() + keyUseWriteIntervalMs) as MonotonicMs;
      await this.#round();
    }
    this.#writing = undefined;
  }

  async #round(): Promise<void> {
    const uses = this.#noted;
    this.#noted = new Map();
    try {
      while (uses.size > 0) {
        const startedMs = this.#clock.monotonicMs();
        await this.#writeBatch(uses);
        const tookMs = this.#clock.monotonicMs() - startedMs;
        if (uses.size > 0) await this.#rest(Math.min(keyUseRestMsMax, tookMs / keyUseWriteShare));
      }
    } catch (error) {
      this.#onError(error);
      if (!this.#isEnding) this.#takeBack(uses);
    }
  }

  /** Takes out of `uses` what it has written. */
  async #writeBatch(uses: Map<string, WallMs>): Promise<void> {
    const batch: Record<string, Time> = {};
    for (const [id, at] of uses.entries().take(keyUseBatchRows)) batch[id] = timeText(at);
    await this.#database.run((tables) => updateKeyUses(tables, batch));
    for (const id of Object.keys(batch)) uses.delete(id);
  }

  /** The database could not be asked: the next round tries again. */
  #takeBack(uses: ReadonlyMap<string, WallMs>): void {
    for (const [id, at] of uses)
      if (this.#noted.size < keyUsesNotedMax && !this.#noted.has(id)) this.#noted.set(id, at);
  }

  async #rest(ms: number): Promise<void> {
    // SQLite writes on the event loop: whoever waits for it has a turn.
    if (this.#isEnding) return nextTurn();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(1, ms));
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
