/** `last_used_at` of keys: at most one write a minute per key, and never one that a request waits for. */
import { LRUCache } from 'lru-cache';
import type { Clock, MonotonicMs } from '../clock.ts';
import { keyUseWriteIntervalMs, knownCredentialsMax } from '../limits.ts';
import type { IdentityDatabase } from './database.ts';
import { timeText } from './subject.ts';

export class KeyUse {
  readonly #database: IdentityDatabase;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #writtenMs = new LRUCache<string, MonotonicMs>({ max: knownCredentialsMax });
  readonly #underWay = new Set<Promise<void>>();

  constructor(database: IdentityDatabase, clock: Clock, onError: (error: unknown) => void) {
    this.#database = database;
    this.#clock = clock;
    this.#onError = onError;
  }

  /** Notes that the key has just been accepted. */
  note(id: string): void {
    const nowMs = this.#clock.monotonicMs();
    const writtenMs = this.#writtenMs.get(id);
    if (writtenMs !== undefined && nowMs - writtenMs < keyUseWriteIntervalMs) return;
    this.#writtenMs.set(id, nowMs);
    const write = this.#write(id).catch(this.#onError);
    this.#underWay.add(write);
    write.finally(() => this.#underWay.delete(write));
  }

  /** Resolves once what was noted is written. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  async #write(id: string): Promise<void> {
    const now = timeText(this.#clock.wallMs());
    await this.#database.run((tables) =>
      tables.updateTable('api_keys').set({ last_used_at: now }).where('id', '=', id).execute(),
    );
  }
}
