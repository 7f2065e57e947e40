/** `last_used_at` of keys: at most one write a minute per key, and never one that a request waits for. */
import { LRUCache } from 'lru-cache';
import type { Clock, MonotonicMs, WallMs } from '../clock.ts';
import { keyUseWriteIntervalMs, knownCredentialsMax } from '../limits.ts';
import type { IdentityDatabase } from './database.ts';
import { timeText } from './subject.ts';
import type { Time } from './tables.ts';

interface Use {
  writtenMs: MonotonicMs;
  /** A use after that, which is written at the end if no later one is. */
  unwritten: WallMs | undefined;
}

export class KeyUse {
  readonly #database: IdentityDatabase;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #uses = new LRUCache<string, Use>({ max: knownCredentialsMax });
  readonly #underWay = new Set<Promise<void>>();

  constructor(database: IdentityDatabase, clock: Clock, onError: (error: unknown) => void) {
    this.#database = database;
    this.#clock = clock;
    this.#onError = onError;
  }

  /** Notes that the key has just been accepted. At every request: it makes no string and no object. */
  note(id: string): void {
    const now = this.#clock.wallMs();
    const nowMs = this.#clock.monotonicMs();
    const use = this.#uses.get(id);
    if (use !== undefined && nowMs - use.writtenMs < keyUseWriteIntervalMs) {
      use.unwritten = now;
      return;
    }
    this.#uses.set(id, { writtenMs: nowMs, unwritten: undefined });
    this.#start(id, timeText(now));
  }

  /** Writes what was noted and not written yet; resolves once all is. */
  async flush(): Promise<void> {
    for (const [id, use] of this.#uses.entries()) {
      if (use.unwritten === undefined) continue;
      this.#start(id, timeText(use.unwritten));
      use.unwritten = undefined;
    }
    await Promise.all(this.#underWay);
  }

  #start(id: string, time: Time): void {
    const write = this.#write(id, time).catch(this.#onError);
    this.#underWay.add(write);
    write.finally(() => this.#underWay.delete(write));
  }

  /** Another replica may have seen a later use. */
  async #write(id: string, time: Time): Promise<void> {
    await this.#database.run((tables) =>
      tables
        .updateTable('api_keys')
        .set({ last_used_at: time })
        .where('id', '=', id)
        .where(({ eb, or }) => or([eb('last_used_at', 'is', null), eb('last_used_at', '<', time)]))
        .execute(),
    );
  }
}
