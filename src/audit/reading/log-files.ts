/** The files of one log, the one that is written and those that were rotated away, each with its index. */
import { hash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Filter, factsOf, matches } from './filter.ts';
import { LineReader } from './line-reader.ts';
import { chunkRows, LogIndex } from './log-index.ts';
import type { Place } from './place.ts';
import { offsetIn, rowTest, rowWords } from './rows.ts';

/** A line found, and where the next look begins. */
export interface Found {
  /** JSON, without its line end. */
  readonly line: string;
  readonly place: Place;
}

export interface Page {
  readonly found: readonly Found[];
  /** From here on (older) there may be more; `undefined` at the end of the log. */
  readonly next: Place | undefined;
}

export interface PageLimits {
  readonly lines: number;
  readonly bytes: number;
  readonly budgetMs: number;
}

/** The place is in a file that is not here: rotated away, or another gateway's. */
export class UnknownPlaceError extends Error {}

/** More of the log is not in its index yet than can be read now. */
export class IndexingError extends Error {}

interface LogFile {
  /** Its key; see `Place`. */
  readonly key: string;
  readonly path: string;
  /** When it begins; files are in this order. */
  readonly beginMs: number;
}

interface OpenFile extends LogFile {
  readonly reader: LineReader;
  readonly index: LogIndex;
}

const knownFilesMax = 10_000;

/** A first line is shorter. */
const firstLineBytesMax = 64 * 1024;

export class LogFiles {
  readonly #path: string;
  readonly #indexFolder: string;
  readonly #open = new Map<string, OpenFile>();
  readonly #rows = new Uint32Array(chunkRows * rowWords);
  /** By device, inode and birth, so that a first line is read once. */
  readonly #known = new Map<string, LogFile & { readonly bytes: number }>();

  /** @param path of the file that is written */
  constructor(path: string) {
    this.#path = path;
    this.#indexFolder = `${path}.index`;
  }

  /** Brings the indexes up to date, newest file first. True when nothing is left to read. */
  extend(budgetMs: number): boolean {
    const untilMs = performance.now() + budgetMs;
    const files = this.#files();
    this.#forgetOthers(files);
    for (const file of files.reverse()) {
      const { index, reader } = this.#opened(file);
      if (!this.#extended(file.key, index, reader, untilMs - performance.now())) return false;
    }
    return true;
  }

  /** An index that could not be written (a full disk) is opened anew, and mended then. */
  #extended(key: string, index: LogIndex, reader: LineReader, budgetMs: number): boolean {
    try {
      return index.extend(reader, budgetMs);
    } catch (error) {
      reader.close();
      index.close();
      this.#open.delete(key);
      throw error;
    }
  }

  /**
   * The newest records that match, and that stand before `before`.
   * @throws UnknownPlaceError, IndexingError
   */
  page(filter: Filter, before: Place | undefined, limits: PageLimits): Page {
    if (!this.extend(limits.budgetMs / 2)) throw new IndexingError('the index is being made');
    const search = new Search(filter, limits, this.#rows);
    for (const file of this.#filesBefore(before)) {
      const bound = file.key === before?.file ? before.offset : Number.POSITIVE_INFINITY;
      const opened = this.#open.get(file.key);
      if (opened !== undefined && !search.in(opened, bound)) break;
    }
    return search.page;
  }

  /** Where the log ends now; `undefined` while it is empty. */
  end(): Place | undefined {
    const last = this.#files().at(-1);
    if (last === undefined) return undefined;
    const reader = new LineReader(last.path);
    try {
      return { file: last.key, offset: reader.lastEnd() };
    } finally {
      reader.close();
    }
  }

  /**
   * The records that match from `after` on, oldest first; each with the place behind it.
   * @param after `undefined` is the beginning of the newest file
   * @throws UnknownPlaceError
   */
  follow(
    filter: Filter,
    after: Place | undefined,
    limits: PageLimits,
  ): { found: Found[]; next: Place | undefined } {
    const untilMs = performance.now() + limits.budgetMs;
    const files = this.#files();
    let at = after === undefined ? files.length - 1 : files.findIndex(({ key }) => key === after.file);
    if (at === -1 && after !== undefined) throw new UnknownPlaceError(after.file);
    let next = after;
    const found: Found[] = [];
    let bytes = 0;
    for (; at >= 0 && at < files.length; at += 1) {
      const file = files[at];
      if (file === undefined) break;
      const reader = new LineReader(file.path);
      try {
        const offset = next?.file === file.key ? next.offset : 0;
        if (offset > reader.bytes) throw new UnknownPlaceError(file.key);
        next = { file: file.key, offset };
        for (const { text, end } of reader.from(offset)) {
          next = { file: file.key, offset: end };
          const facts = factsOf(text);
          if (facts !== undefined && matches(filter, facts)) {
            found.push({ line: text, place: next });
            bytes += text.length;
          }
          if (found.length >= limits.lines || bytes >= limits.bytes || performance.now() > untilMs)
            return { found, next };
        }
      } finally {
        reader.close();
      }
    }
    return { found, next };
  }

  close(): void {
    for (const file of this.#open.values()) closeFile(file);
    this.#open.clear();
  }

  /** Oldest first. */
  #files(): LogFile[] {
    const folder = dirname(this.#path);
    const name = basename(this.#path);
    const isOurs = (other: string) =>
      other === name || (other.startsWith(name) && /^[.-]\d[\d.T:Z-]{0,40}$/.test(other.slice(name.length)));
    return readdirSync(folder)
      .filter(isOurs)
      .map((other) => this.#file(join(folder, other)))
      .filter((file) => file !== undefined)
      .sort((a, b) => a.beginMs - b.beginMs || (a.path === this.#path ? 1 : -1));
  }

  /** `undefined` for a file without a first line, and for what is no file: a pipe must not be read from. */
  #file(path: string): LogFile | undefined {
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats?.isFile() !== true) return undefined;
    const { dev, ino, birthtimeMs, size } = stats;
    const id = `${dev}:${ino}:${birthtimeMs}`;
    const known = this.#known.get(id);
    // One that was cut short begins anew.
    const file = known !== undefined && size >= known.bytes ? { ...known, path } : logFile(path);
    if (file === undefined) return undefined;
    if (this.#known.size >= knownFilesMax) this.#known.clear();
    this.#known.set(id, { ...file, bytes: size });
    return file;
  }

  /** From where `before` is, newest first. */
  #filesBefore(before: Place | undefined): LogFile[] {
    const files = this.#files().reverse();
    if (before === undefined) return files;
    const at = files.findIndex(({ key }) => key === before.file);
    if (at === -1) throw new UnknownPlaceError(before.file);
    return files.slice(at);
  }

  #opened(file: LogFile): OpenFile {
    const known = this.#open.get(file.key);
    // It may have been cut short and written anew from the same first line on.
    if (known !== undefined && known.reader.bytes >= known.index.indexedBytes) return known;
    if (known !== undefined) closeFile(known);
    mkdirSync(this.#indexFolder, { recursive: true, mode: 0o700 });
    const reader = new LineReader(file.path);
    const opened = {
      ...file,
      reader,
      index: new LogIndex(join(this.#indexFolder, `${file.key}.idx`), reader.bytes),
    };
    this.#open.set(file.key, opened);
    return opened;
  }

  /** Indexes of files that are no more. */
  #forgetOthers(files: readonly LogFile[]): void {
    const keys = new Set(files.map(({ key }) => key));
    for (const [key, file] of this.#open) {
      if (keys.has(key)) continue;
      closeFile(file);
      this.#open.delete(key);
    }
    if (!existsSync(this.#indexFolder)) return;
    for (const name of readdirSync(this.#indexFolder)) {
      const key = /^([0-9a-f]{16})\.idx$/.exec(name)?.[1];
      if (key !== undefined && !keys.has(key)) rmSync(join(this.#indexFolder, name), { force: true });
    }
  }
}

/** One walk from the newest row to the oldest. */
class Search {
  readonly #filter: Filter;
  readonly #limits: PageLimits;
  readonly #rows: Uint32Array;
  readonly #test: (words: Uint32Array, at: number) => boolean;
  readonly #untilMs: number;
  readonly #found: Found[] = [];
  #bytes = 0;
  #next: Place | undefined;

  constructor(filter: Filter, limits: PageLimits, rows: Uint32Array) {
    this.#filter = filter;
    this.#limits = limits;
    this.#rows = rows;
    this.#test = rowTest(filter);
    this.#untilMs = performance.now() + limits.budgetMs;
  }

  get page(): Page {
    return { found: this.#found, next: this.#next };
  }

  /** Looks through a file, before `bound`. False when the page is full or the time is up. */
  in(file: OpenFile, bound: number): boolean {
    for (let chunk = file.index.chunks.length - 1; chunk >= 0; chunk -= 1) {
      if (!this.#mayHold(file.index, chunk, bound)) continue;
      if (!this.#inChunk(file, chunk, bound)) return false;
    }
    return true;
  }

  #mayHold(index: LogIndex, chunk: number, bound: number): boolean {
    const { fromMs = 0, toMs = Number.POSITIVE_INFINITY } = this.#filter;
    const held = index.chunks[chunk];
    return held !== undefined && held.fromOffset < bound && held.toMs >= fromMs && held.fromMs < toMs;
  }

  #inChunk(file: OpenFile, chunk: number, bound: number): boolean {
    const rows = this.#rows;
    const count = file.index.readChunk(chunk, rows);
    for (let row = count - 1; row >= 0; row -= 1) {
      const at = row * rowWords;
      if (!this.#test(rows, at)) continue;
      const offset = offsetIn(rows, at);
      if (offset < bound && !this.#take(file, offset)) return false;
    }
    if (performance.now() < this.#untilMs) return true;
    this.#next = { file: file.key, offset: offsetIn(rows, 0) };
    return false;
  }

  #take(file: OpenFile, offset: number): boolean {
    const line = file.reader.lineAt(offset);
    const facts = line === undefined ? undefined : factsOf(line);
    const place = { file: file.key, offset };
    if (line !== undefined && facts !== undefined && matches(this.#filter, facts)) {
      this.#found.push({ line, place });
      this.#bytes += line.length;
    }
    const { lines, bytes } = this.#limits;
    const full = this.#found.length >= lines || this.#bytes >= bytes || performance.now() > this.#untilMs;
    if (full) this.#next = place;
    return !full;
  }
}

function closeFile({ reader, index }: OpenFile): void {
  reader.close();
  index.close();
}

/** `undefined` for one that has no whole line yet, or is gone already. */
function logFile(path: string): LogFile | undefined {
  const first = firstLineOf(path);
  const facts = first === undefined ? undefined : factsOf(first);
  if (first === undefined || facts === undefined) return undefined;
  return { key: hash('sha256', first).slice(0, 16), path, beginMs: facts.timeMs };
}

function firstLineOf(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    const buffer = Buffer.alloc(firstLineBytesMax);
    const bytes = readSync(fd, buffer, 0, buffer.length, 0);
    const end = buffer.subarray(0, bytes).indexOf('\n');
    return end === -1 ? undefined : buffer.toString('utf8', 0, end);
  } finally {
    closeSync(fd);
  }
}
