/** The whole lines of a log file, from any place in it. What has no line end yet is not a line. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { partsOf } from '../log-files.ts';

export interface Line {
  /** Without its line end. */
  readonly text: string;
  /** Its first byte. */
  readonly offset: number;
  /** Behind its line end. */
  readonly end: number;
}

const windowBytes = 1024 * 1024;
const lineEnd = 0x0a;

export class LineReader {
  readonly #fd: number;
  readonly #window = Buffer.allocUnsafe(windowBytes);

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
  }

  get bytes(): number {
    return fstatSync(this.#fd).size;
  }

  /** The lines behind `offset`, which is the beginning of one. A line longer than 1 MiB is nobody's record, and left out. */
  *from(offset: number): Generator<Line> {
    let windowAt = offset;
    let skipping = false;
    for (;;) {
      const bytes = readSync(this.#fd, this.#window, 0, windowBytes, windowAt);
      let start = 0;
      for (let end = this.#nextEnd(0, bytes); end !== -1; end = this.#nextEnd(start, bytes)) {
        // Before it on the same line may stand what a killed process has left of another.
        const [last = ''] = partsOf(this.#window.subarray(start, end)).slice(-1);
        const begin = end - last.length;
        const line = { offset: windowAt + begin, end: windowAt + end + 1 };
        if (!skipping) yield { text: this.#window.toString('utf8', begin, end), ...line };
        skipping = false;
        start = end + 1;
      }
      if (bytes < windowBytes) return;
      if (start === 0) skipping = true;
      windowAt += start === 0 ? bytes : start;
    }
  }

  /** The line at `offset`, or `undefined` when there is none. */
  lineAt(offset: number): string | undefined {
    for (const bytes of [firstReadBytes, windowBytes]) {
      const read = readSync(this.#fd, this.#window, 0, bytes, offset);
      const end = this.#nextEnd(0, read);
      if (end !== -1) return this.#window.toString('utf8', 0, end);
    }
    return undefined;
  }

  /** Where the last whole line ends. */
  lastEnd(): number {
    const { bytes } = this;
    const from = Math.max(0, bytes - windowBytes);
    const read = readSync(this.#fd, this.#window, 0, windowBytes, from);
    return from + this.#window.subarray(0, read).lastIndexOf(lineEnd) + 1;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #nextEnd(start: number, bytes: number): number {
    return this.#window.subarray(0, bytes).indexOf(lineEnd, start);
  }
}

/** More than most lines take. */
const firstReadBytes = 4_096;
