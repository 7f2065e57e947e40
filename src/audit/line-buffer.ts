/**
 * Lines that wait to be written, as bytes one behind another from the start: kept as texts, each would be measured, joined with
 * the others and made bytes of, and live through the collections of garbage in between.
 */
import { auditBatchBytes, auditRecordBytesMax } from '../limits.ts';

/** Where lines are written as soon as there is a batch, nothing more is needed. */
const usualBytes = auditBatchBytes + auditRecordBytesMax;

export class LineBuffer {
  #bytes = Buffer.allocUnsafeSlow(usualBytes);
  #length = 0;

  /** In bytes. */
  get length(): number {
    return this.#length;
  }

  /** @returns its bytes */
  push(line: string): number {
    // Three bytes a character are the most that UTF-8 takes of UTF-16.
    const needed = this.#length + line.length * 3;
    if (needed > this.#bytes.length) this.#grow(needed);
    const bytes = this.#bytes.write(line, this.#length);
    this.#length += bytes;
    return bytes;
  }

  /** All of them, which are gone from here. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    if (this.#bytes.length > usualBytes) this.#bytes = Buffer.allocUnsafeSlow(usualBytes);
    return taken;
  }

  #grow(needed: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}
