/**
 * The index of one log file, in a file of its own: written by appending, read backwards. It can be thrown away at any
 * time; one that does not fit its log (another one, cut short, damaged) is made anew.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { factsOf } from './filter.ts';
import type { LineReader } from './line-reader.ts';
import { offsetIn, rowBytes, rowWords, timeMsIn, writeRow } from './rows.ts';

const magic = Buffer.from('portcullis audit index 1\n'.padEnd(64));

/** Rows that are read at once: 384 KiB. */
export const chunkRows = 16_384;

interface Chunk {
  /** Where its first record stands. */
  readonly fromOffset: number;
  fromMs: number;
  toMs: number;
}

export class LogIndex {
  readonly #fd: number;
  /** Of each `chunkRows` rows, where and when their records are: so that most of a long log is never looked at. */
  readonly chunks: Chunk[] = [];
  rows = 0;
  /** Up to here the log has been read. */
  #indexedBytes = 0;
  #lastOffset = -1;

  /** @param path of the index; made (mode 0600) where it is not there */
  constructor(path: string, logBytes: number) {
    this.#fd = openSync(path, 'a+', 0o600);
    if (!this.#load(logBytes)) this.#startOver();
  }

  get indexedBytes(): number {
    return this.#indexedBytes;
  }

  /**
   * Reads what the log has beyond, for about `budgetMs` at most. True when there is no more.
   * @throws what the disk throws; this index can then not be used any longer
   */
  extend(log: LineReader, budgetMs: number): boolean {
    const untilMs = performance.now() + budgetMs;
    const words = new Uint32Array(chunkRows * rowWords);
    let done: boolean;
    do {
      let count = 0;
      done = true;
      for (const { text, offset, end } of log.from(this.#indexedBytes)) {
        const facts = factsOf(text);
        if (facts !== undefined) {
          writeRow(words, count * rowWords, offset, facts);
          count += 1;
        }
        this.#indexedBytes = end;
        if (count < chunkRows) continue;
        done = false;
        break;
      }
      this.#append(words, count);
    } while (!done && performance.now() < untilMs);
    return done;
  }

  /** The rows of a chunk, in `into`. @returns how many */
  readChunk(chunk: number, into: Uint32Array): number {
    const first = chunk * chunkRows;
    const count = Math.min(chunkRows, this.rows - first);
    const bytes = new Uint8Array(into.buffer, 0, count * rowBytes);
    const read = readSync(this.#fd, bytes, 0, bytes.length, magic.length + first * rowBytes);
    return Math.floor(read / rowBytes);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #append(words: Uint32Array, count: number): void {
    if (count === 0) return;
    const bytes = count * rowBytes;
    for (let written = 0; written < bytes; )
      written += writeSync(this.#fd, new Uint8Array(words.buffer, written, bytes - written));
    this.#note(words, count);
  }

  /** False where a row does not stand behind the one before it. */
  #note(words: Uint32Array, count: number): boolean {
    for (let row = 0; row < count; row += 1) {
      const at = row * rowWords;
      const offset = offsetIn(words, at);
      if (offset <= this.#lastOffset) return false;
      this.#lastOffset = offset;
      const timeMs = timeMsIn(words, at);
      const chunk = this.chunks[Math.floor(this.rows / chunkRows)];
      if (chunk === undefined) this.chunks.push({ fromOffset: offset, fromMs: timeMs, toMs: timeMs });
      else {
        chunk.fromMs = Math.min(chunk.fromMs, timeMs);
        chunk.toMs = Math.max(chunk.toMs, timeMs);
      }
      this.rows += 1;
    }
    return true;
  }

  /** Takes over what an earlier process wrote. False when it cannot be trusted. */
  #load(logBytes: number): boolean {
    const { size } = fstatSync(this.#fd);
    const head = Buffer.alloc(magic.length);
    if (readSync(this.#fd, head, 0, head.length, 0) !== head.length || !head.equals(magic)) return false;
    // A last row that was half written goes.
    const whole = Math.floor((size - magic.length) / rowBytes);
    if (magic.length + whole * rowBytes !== size) ftruncateSync(this.#fd, magic.length + whole * rowBytes);
    const words = new Uint32Array(chunkRows * rowWords);
    for (let read = 0; read < whole; ) {
      const bytes = new Uint8Array(words.buffer, 0, Math.min(chunkRows, whole - read) * rowBytes);
      const got = readSync(this.#fd, bytes, 0, bytes.length, magic.length + read * rowBytes);
      const count = Math.floor(got / rowBytes);
      if (count === 0 || !this.#note(words, count)) return false;
      read += count;
    }
    if (this.#lastOffset >= logBytes) return false;
    // The last line is read again: where it ends is not in its row.
    this.#indexedBytes = Math.max(0, this.#lastOffset);
    this.#dropLast(whole);
    return true;
  }

  #dropLast(whole: number): void {
    if (whole === 0) return;
    ftruncateSync(this.#fd, magic.length + (whole - 1) * rowBytes);
    this.rows -= 1;
    this.#lastOffset -= 1;
    if (this.rows % chunkRows === 0) this.chunks.length = Math.ceil(this.rows / chunkRows);
  }

  #startOver(): void {
    ftruncateSync(this.#fd, 0);
    writeSync(this.#fd, magic);
    this.chunks.length = 0;
    this.rows = 0;
    this.#indexedBytes = 0;
    this.#lastOffset = -1;
  }
}
