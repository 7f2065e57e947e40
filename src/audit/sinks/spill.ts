/**
 * Lines on disk for a receiver that is away: a folder of numbered segments, written in order, read back from the
 * oldest. A segment is removed when all of it has been delivered; whoever is killed in between delivers it again.
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { spillPendingBytesMax, spillSegmentBytes } from '../../limits.ts';

export interface SpillOptions {
  /** A folder of its own. */
  readonly path: string;
  readonly bytesMax: number;
  /** Called when the folder stops taking lines, or one of its segments cannot be read; then at each try. */
  onTrouble(error: unknown): void;
}

interface Segment {
  readonly path: string;
  bytes: number;
}

interface OpenSegment extends Segment {
  readonly file: FileHandle;
}

/** Lines read back; `done` forgets them. */
export interface SpilledLines {
  readonly lines: string[];
  done(): Promise<void>;
}

/** Numbers of segments: room below each, since what is in memory at the end is older than what went to disk last. */
const firstNumber = 1_000_000_000;
const numberStep = 2;

export class Spill {
  readonly #options: SpillOptions;
  /** Whole ones, oldest first. */
  readonly #sealed: Segment[];
  #current: OpenSegment | undefined;
  #next: number;
  /** Not on disk yet. */
  #pending: string[] = [];
  #pendingBytes = 0;
  #bytesOnDisk: number;
  #writing: Promise<void> | undefined;
  /** The last write failed, and was told of. */
  #troubled = false;

  private constructor(options: SpillOptions, sealed: Segment[]) {
    this.#options = options;
    this.#sealed = sealed;
    this.#bytesOnDisk = sealed.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#next = sealed.length === 0 ? firstNumber : numberOf(sealed.at(-1)?.path ?? '') + numberStep;
  }

  /** Opens or creates the folder (mode 0700), with what an earlier process left in it. */
  static async open(options: SpillOptions): Promise<Spill> {
    await mkdir(options.path, { recursive: true, mode: 0o700 });
    const names = (await readdir(options.path)).filter((name) => /^\d{10}\.ndjson$/.test(name)).sort();
    const sealed: Segment[] = [];
    for (const name of names) {
      const path = join(options.path, name);
      sealed.push({ path, bytes: (await stat(path)).size });
    }
    return new Spill(options, sealed);
  }

  get isEmpty(): boolean {
    return this.#sealed.length === 0 && this.#current === undefined && this.#pending.length === 0;
  }

  /** Takes a line; false when the folder, or the way to it, is full. */
  push(line: string): boolean {
    const bytes = Buffer.byteLength(line);
    const { bytesMax } = this.#options;
    if (this.#pendingBytes + bytes > spillPendingBytesMax) return false;
    if (this.#bytesOnDisk + this.#pendingBytes + bytes > bytesMax) return false;
    this.#pending.push(line);
    this.#pendingBytes += bytes;
    this.#write();
    return true;
  }

  /**
   * The oldest lines, about one segment of them; `undefined` when there are none.
   * @throws what the disk throws; the segment stays the oldest
   */
  async takeOldest(): Promise<SpilledLines | undefined> {
    await this.#settle();
    if (this.#sealed.length === 0 && this.#current !== undefined) {
      await this.#seal();
      return this.takeOldest();
    }
    const [segment] = this.#sealed;
    if (segment !== undefined) return this.#read(segment);
    if (this.#pending.length === 0) return undefined;
    // The disk does not take them, so they are only here.
    const lines = this.#pending;
    this.#pending = [];
    this.#pendingBytes = 0;
    return { lines, done: async () => undefined };
  }

  /** Writes what is pending, and `older` before everything else. @throws what the disk throws */
  async close(older: readonly string[]): Promise<void> {
    await this.#settle();
    await this.#seal();
    const first = this.#sealed[0];
    if (older.length > 0)
      await this.#writeWhole(first === undefined ? this.#next : numberOf(first.path) - 1, older);
    if (this.#pending.length > 0) await this.#writeWhole(this.#next + numberStep, this.#pending);
    this.#pending = [];
  }

  /** Waits until nobody writes; what follows in the same turn has the folder to itself. */
  async #settle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #read(segment: Segment): Promise<SpilledLines> {
    const text = await readFile(segment.path, 'utf8').catch((error: unknown) => {
      this.#options.onTrouble(error);
      // One that somebody has removed does not come back; one that cannot be read now may be, and holds up the rest.
      if (isGone(error)) return '';
      throw error;
    });
    this.#sealed.shift();
    // A last line without an end was being written when that process was killed.
    const lines = text.split('\n').slice(0, -1);
    return {
      lines: lines.map((line) => `${line}\n`),
      done: async () => {
        this.#bytesOnDisk -= segment.bytes;
        await rm(segment.path, { force: true }).catch(this.#options.onTrouble);
      },
    };
  }

  #write(): void {
    if (this.#writing !== undefined) return;
    this.#writing = this.#drain()
      .catch(async (error: unknown) => {
        if (!this.#troubled) this.#options.onTrouble(error);
        this.#troubled = true;
        await this.#abandon();
      })
      .finally(() => {
        this.#writing = undefined;
      });
  }

  async #drain(): Promise<void> {
    while (this.#pending.length > 0) {
      const taken = this.#pending.length;
      const bytes = Buffer.from(this.#pending.join(''));
      const segment = await this.#openSegment();
      await segment.file.appendFile(bytes);
      segment.bytes += bytes.length;
      this.#bytesOnDisk += bytes.length;
      this.#pendingBytes -= bytes.length;
      this.#pending = this.#pending.slice(taken);
      this.#troubled = false;
      if (segment.bytes >= spillSegmentBytes) await this.#seal();
    }
  }

  async #openSegment(): Promise<OpenSegment> {
    if (this.#current !== undefined) return this.#current;
    const { O_APPEND, O_CREAT, O_EXCL, O_WRONLY } = constants;
    const path = this.#pathOf(this.#next);
    const file = await open(path, O_APPEND | O_CREAT | O_EXCL | O_WRONLY, 0o600);
    this.#next += numberStep;
    this.#current = { path, bytes: 0, file };
    return this.#current;
  }

  async #seal(): Promise<void> {
    const segment = this.#current;
    if (segment === undefined) return;
    this.#current = undefined;
    this.#sealed.push({ path: segment.path, bytes: segment.bytes });
    await segment.file.close();
  }

  /** What a failed write left half of is cut off; the lines are still pending, and go into the next segment. */
  async #abandon(): Promise<void> {
    const segment = this.#current;
    await segment?.file.truncate(segment.bytes).catch(() => undefined);
    await this.#seal().catch(() => undefined);
  }

  async #writeWhole(number: number, lines: readonly string[]): Promise<void> {
    const file = await open(this.#pathOf(number), 'wx', 0o600);
    try {
      await file.writeFile(lines.join(''));
    } finally {
      await file.close();
    }
  }

  #pathOf(number: number): string {
    return join(this.#options.path, `${String(number).padStart(10, '0')}.ndjson`);
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function numberOf(path: string): number {
  return Number(/(\d{10})\.ndjson$/.exec(path)?.[1] ?? firstNumber);
}
