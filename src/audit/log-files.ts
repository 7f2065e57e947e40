/** The files of one audit log on disk: their names, what each begins with, and what stands at the end of one. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { auditLookBackMs, auditLookBytesMax, auditRecordBytesMax, auditTailBytesMax } from '../limits.ts';
import { hashOf, type Link, type Place, placeIn } from './chain.ts';

/** Which log a file belongs to, and which of its files it is, from 1. */
export interface FileNumber {
  readonly log: string;
  readonly file: number;
}

/** A line that a crash or a full disk has cut short, and that was ended so that the next one starts on its own. */
export interface TornLine {
  readonly bytes: number;
  /** Of what there is of it. */
  readonly hash: string;
  /** The process that tells of it has begun it itself, and has written it anew. */
  readonly own?: true;
}

/** A link, and which file of the log its line stands in: that one may be gone when somebody asks. */
export interface PlacedLink extends Link {
  readonly file?: number;
}

export function placed(links: readonly Link[], number: FileNumber | undefined): PlacedLink[] {
  return links.map((link) => (number === undefined ? link : { ...link, file: number.file }));
}

/** Torn lines that are kept to be told of: a disk that is full takes a few bytes at each try. */
export const tornLinesMax = 256;

/** Links that one line tells of, and torn lines too, so that a checkpoint keeps the bound of a record. */
export const linksOfOneMax = 48;

/** What a file's first line says of it. */
interface Header extends FileNumber {
  /** Wall time. */
  readonly begunMs: number;
}

const headerPattern =
  /^\{"timestamp":(\d{1,12}(?:\.\d{1,9})?),"stage":"(file|joined)",.{0,1024}?"log":"([0-9a-f]{32})","file":([1-9]\d{0,8}),/;

/** `undefined` when the line is no file's header. Whether it is signed is not asked here. */
export function headerOf(firstLine: string): Header | undefined {
  return numberIn('file', firstLine);
}

/** `undefined` when the line is none by which a process goes on in a file that another one has begun. */
export function joinedIn(line: string): FileNumber | undefined {
  return numberIn('joined', line);
}

function numberIn(stage: 'file' | 'joined', line: string): Header | undefined {
  const [, seconds, found, log, file] = headerPattern.exec(line) ?? [];
  if (found !== stage) return undefined;
  if (seconds === undefined || log === undefined) return undefined;
  return { log, file: Number(file), begunMs: Number(seconds) * 1000 };
}

/** Where the file of this number goes when the next one begins: `audit.log.000012`. */
export function rotatedPath(path: string, file: number): string {
  return `${path}.${String(file).padStart(6, '0')}`;
}

/** The files of `path` that were rotated away, oldest first. */
export async function rotatedFiles(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`;
  const found = (await readdir(dirname(path)).catch(() => []))
    .filter((name) => name.startsWith(prefix) && /^\d{6,9}$/.test(name.slice(prefix.length)))
    .map((name) => ({ name, file: Number(name.slice(prefix.length)) }));
  return found.sort((a, b) => a.file - b.file).map(({ name }) => join(dirname(path), name));
}

/** Removes the oldest rotated files but for `keep`. @returns how many */
export async function removeOldest(path: string, keep: number): Promise<number> {
  const files = await rotatedFiles(path);
  const surplus = files.slice(0, Math.max(0, files.length - keep));
  for (const file of surplus) await unlink(file);
  return surplus.length;
}

/** The number that a new file at `path` gets: after the newest rotated one, or the first of a new log. */
export async function nextNumber(path: string): Promise<FileNumber> {
  const files = await rotatedFiles(path);
  const newest = files.at(-1);
  const first = { log: randomBytes(16).toString('hex'), file: 1 };
  if (newest === undefined) return first;
  const file = Number(/\d+$/.exec(newest)?.[0]) + 1;
  const opened = await open(newest, 'r');
  const header = await headerIn(opened).finally(() => opened.close());
  return header === undefined
    ? { ...first, file }
    : { log: header.log, file: Math.max(file, header.file + 1) };
}

/** What the first line of an open file says. */
export async function headerIn(file: FileHandle): Promise<Header | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(4_096), 0, 4_096, 0);
  return headerOf(buffer.toString('latin1', 0, bytesRead).split('\n', 1)[0] ?? '');
}

/**
 * What whoever opens a file has to vouch for: it is read from its end back to a checkpoint that is `auditLookBackMs`
 * older than the last one. `auditLookBytesMax` at most are read.
 */
export async function foundAtEnd(file: FileHandle, size: number): Promise<Omit<Found, 'end'>> {
  const heads = new Map<string, Head>();
  const torn: TornLine[] = [];
  const least = Math.max(0, size - auditLookBytesMax);
  let end = size;
  let newestMs: number | undefined;
  while (end > least) {
    const start = Math.max(least, end - auditTailBytesMax);
    const bytes = await bytesOf(file, start, end);
    // Its first line may begin before it, and comes with the next piece then; nobody's is as long as a piece.
    const skipped = start === 0 ? 0 : bytes.indexOf(10) + 1;
    const lines = linesOf(bytes.subarray(skipped));
    for (const line of lines.toReversed())
      for (const part of partsOf(line).toReversed()) {
        const place = placeIn(part);
        if (place === undefined) noteTorn(torn, part);
        else if (!heads.has(place.chain)) heads.set(place.chain, { ...place, line: part });
      }
    const times = lines.flatMap((line) => checkpointMs(line) ?? []);
    newestMs ??= times.at(-1);
    const [oldestMs] = times;
    if (newestMs !== undefined && oldestMs !== undefined && oldestMs < newestMs - auditLookBackMs) break;
    end = skipped < bytes.length ? start + skipped : start;
  }
  return { links: [...heads.values()].reverse().map(linkOf), torn: torn.reverse() };
}

/** When a process has signed; `undefined` for another line. */
function checkpointMs(line: Buffer): number | undefined {
  const begin = line.toString('latin1', 0, 64);
  const seconds = /^\{"timestamp":(\d{1,12}(?:\.\d{1,9})?),"stage":"checkpoint",/.exec(begin)?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

/**
 * The last line of each chain in a part of a file, so that whoever writes next can vouch for them.
 * @param from the first byte looked at; at most `auditTailBytesMax` before `to` are read
 */
export async function linksIn(file: FileHandle, from: number, to: number): Promise<Link[]> {
  const start = Math.max(from, to - auditTailBytesMax);
  const heads = new Map<string, Head>();
  const lines = linesOf(await bytesOf(file, start, to));
  // Its beginning may not be in sight.
  if (start > from) lines.shift();
  for (const part of lines.flatMap(partsOf)) takeHead(heads, part);
  return [...heads.values()].map(linkOf);
}

/** Every line of ours begins with it; inside of one its quotes are escaped. */
const lineBegin = '{"timestamp":';
const lineBeginBytes = Buffer.from(lineBegin);

/**
 * A line, or two of them: half of one, whose writer was killed in the very moment in which another one began, and what
 * that one wrote behind it.
 */
export function partsOf(line: Buffer): readonly Buffer[] {
  const begin = line.lastIndexOf(lineBeginBytes);
  return begin > 0 ? [line.subarray(0, begin), line.subarray(begin)] : [line];
}

/** @param part stands in no chain */
function noteTorn(torn: TornLine[], part: Buffer): void {
  if (torn.length >= tornLinesMax) return;
  const text = part.toString('latin1');
  const isBegun = text.startsWith(lineBegin.slice(0, text.length));
  if (isBegun && headerOf(text) === undefined && joinedIn(text) === undefined)
    torn.push({ bytes: part.length, hash: hashOf(part) });
}

/** What stands in a part of a file. */
export interface Found {
  /** The last line of each chain. */
  readonly links: readonly Link[];
  /** Lines of ours that were cut short, and ended by whoever came next; up to `tornLinesMax`. */
  readonly torn: readonly TornLine[];
  /** Behind the last whole line. */
  readonly end: number;
}

/** All of a part of a file, a piece at a time. @param from where a line begins; `auditLookBytesMax` at most are read */
export async function foundIn(file: FileHandle, from: number, to: number): Promise<Found> {
  const heads = new Map<string, Head>();
  const torn: TornLine[] = [];
  const until = Math.min(to, from + auditLookBytesMax);
  let end = from;
  while (end < until) {
    const bytes = await bytesOf(file, end, Math.min(until, end + auditTailBytesMax));
    const wholeBytes = bytes.lastIndexOf(10) + 1;
    if (wholeBytes === 0) {
      if (bytes.length < auditTailBytesMax) break;
      // Nobody's line is that long, and what comes behind it is to be seen.
      end += bytes.length;
      continue;
    }
    for (const part of linesOf(bytes.subarray(0, wholeBytes)).flatMap(partsOf))
      if (!takeHead(heads, part)) noteTorn(torn, part);
    end += wholeBytes;
  }
  return { links: [...heads.values()].map(linkOf), torn, end };
}

interface Head extends Place {
  readonly line: Buffer;
}

/** False where the line stands in no chain. */
function takeHead(heads: Map<string, Head>, line: Buffer): boolean {
  const place = placeIn(line);
  if (place === undefined) return false;
  heads.set(place.chain, { ...place, line });
  return true;
}

function linkOf({ chain, seq, line }: Head): Link {
  return { chain, seq, hash: hashOf(line) };
}

async function bytesOf(file: FileHandle, from: number, to: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.max(0, to - from));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
  return buffer.subarray(0, bytesRead);
}

/** The whole lines. */
function linesOf(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
    if (end > start) lines.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return lines;
}

/** The last line of a file that has no line end; `undefined` when it ends as it should. */
export async function tornEndOf(file: FileHandle, size: number): Promise<TornLine | undefined> {
  const length = Math.min(size, 2 * auditRecordBytesMax);
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
  if (length === 0 || buffer.at(-1) === 10) return undefined;
  const torn = buffer.subarray(buffer.lastIndexOf(10) + 1);
  return { bytes: torn.length, hash: hashOf(torn) };
}
