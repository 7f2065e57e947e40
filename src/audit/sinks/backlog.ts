/** Lines that wait for their receiver, in order: in memory up to a bound, then on disk where there is a place for them. */
import type { Spill, SpilledLines } from './spill.ts';

export class Backlog {
  readonly #bytesMax: number;
  readonly #spill: Spill | undefined;
  /** The oldest; what is on disk comes after them. */
  #lines: string[] = [];
  /** Lines of `#lines` that are gone already; cut off now and then, since shifting an array costs its length. */
  #gone = 0;
  #bytes = 0;
  /** The segment that the first `#fromDisk` lines were read from. */
  #segment: SpilledLines | undefined;
  #fromDisk = 0;

  constructor(bytesMax: number, spill: Spill | undefined) {
    this.#bytesMax = bytesMax;
    this.#spill = spill;
  }

  get isEmpty(): boolean {
    return this.#count === 0 && (this.#spill?.isEmpty ?? true);
  }

  /** Bytes in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Lines in memory. */
  get #count(): number {
    return this.#lines.length - this.#gone;
  }

  /** Takes a line; false when there is no room and the line is lost. */
  push(line: string): boolean {
    const bytes = Buffer.byteLength(line);
    const spill = this.#spill;
    if ((spill?.isEmpty ?? true) && this.#bytes + bytes <= this.#bytesMax) {
      this.#lines.push(line);
      this.#bytes += bytes;
      return true;
    }
    return spill?.push(line) ?? false;
  }

  /**
   * The oldest lines, at least one where there is any, up to both bounds; they stay until they are shifted.
   * @throws what the disk throws that has them
   */
  async peek(bytesMax: number, linesMax: number): Promise<string[]> {
    if (this.#count === 0) await this.#readBack();
    const batch: string[] = [];
    let bytes = 0;
    for (let index = this.#gone; index < this.#lines.length && batch.length < linesMax; index += 1) {
      const line = this.#lines[index] ?? '';
      bytes += Buffer.byteLength(line);
      if (bytes > bytesMax && batch.length > 0) break;
      batch.push(line);
    }
    return batch;
  }

  /** Forgets the oldest `count` lines. */
  async shift(count: number): Promise<void> {
    for (let index = this.#gone; index < this.#gone + count; index += 1)
      this.#bytes -= Buffer.byteLength(this.#lines[index] ?? '');
    this.#gone += count;
    if (this.#gone * 2 >= this.#lines.length) {
      this.#lines = this.#lines.slice(this.#gone);
      this.#gone = 0;
    }
    this.#fromDisk -= count;
    if (this.#fromDisk > 0 || this.#segment === undefined) return;
    const { done } = this.#segment;
    this.#segment = undefined;
    await done();
  }

  /**
   * Puts what is left on disk, for the next process; without a place there it is lost.
   * @returns how many lines are lost
   */
  async close(): Promise<number> {
    const left = this.#lines.slice(this.#gone);
    this.#lines = [];
    this.#gone = 0;
    this.#bytes = 0;
    if (this.#spill === undefined) return left.length;
    try {
      // A segment that was read back is still there, and comes again as a whole.
      await this.#spill.close(this.#segment === undefined ? left : left.slice(this.#fromDisk));
      return 0;
    } catch {
      return left.length;
    }
  }

  async #readBack(): Promise<void> {
    const segment = await this.#spill?.takeOldest();
    if (segment === undefined) return;
    // What came while the disk was read is newer.
    this.#lines = [...segment.lines, ...this.#lines.slice(this.#gone)];
    this.#gone = 0;
    this.#bytes += segment.lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
    this.#fromDisk = segment.lines.length;
    this.#segment = segment;
    if (this.#fromDisk === 0) await this.shift(0);
  }
}
