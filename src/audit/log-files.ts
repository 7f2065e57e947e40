/** The files of one audit log on disk: their names, what each begins with, and what stands at the end of one. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { auditRecordBytesMax, auditTailBytesMax } from '../limits.ts';
import { hashOf, type Link, placeIn } from './chain.ts';

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
}

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
 * The last line of each chain in a part of a file, so that whoever writes next can vouch for them.
 * @param from the first byte looked at; at most `auditTailBytesMax` before `to` are read
 */
export async function linksIn(file: FileHandle, from: number, to: number): Promise<Link[]> {
  const start = Math.max(from, to - auditTailBytesMax);
  const buffer = Buffer.alloc(Math.max(0, to - start));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
  const lines = linesOf(buffer.subarray(0, bytesRead));
  // Its beginning may not be in sight.
  if (start > from) lines.shift();
  const heads = new Map<string, { seq: number; line: Buffer }>();
  for (const line of lines) {
    const place = placeIn(line);
    if (place !== undefined) heads.set(place.chain, { seq: place.seq, line });
  }
  return [...heads].map(([chain, { seq, line }]) => ({ chain, seq, hash: hashOf(line) }));
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
