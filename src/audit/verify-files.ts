/** Verifies the files of a log in their order, whatever their names, a piece at a time. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { auditLeftMs, auditRecordBytesMax } from '../limits.ts';
import { headerOf } from './log-files.ts';
import type { Verdict } from './verdict.ts';
import type { Verifier } from './verify.ts';

const pieceBytes = 1024 * 1024;
/** No line of ours is longer than the half; what is longer is cut here, so that memory stays bounded. */
const lineBytesMax = 2 * auditRecordBytesMax;

/** So often at most a log is read anew that a gateway writes to at this moment, and after so long. */
const triesMax = 4;
const retryMs = 700;

/**
 * What is to be said of a log. A gateway may be making a file of it give way to the next one: what was listed is gone,
 * a worker still writes to the file before, or the new one is empty. So a fault in a log that is being written is
 * believed when it is still there after a moment.
 * @param onBytes told now and then how many bytes were read since it was told last. Throws what `node:fs` throws.
 */
export async function verdictOn(
  list: () => readonly string[] | Promise<readonly string[]>,
  newVerifier: () => Verifier,
  onBytes: (bytes: number) => void,
): Promise<Verdict> {
  for (let tries = 1; ; tries += 1) {
    let isLast = tries === triesMax;
    try {
      const files = await list();
      isLast ||= !isWrittenTo(files);
      const verifier = newVerifier();
      verifyFiles(files, verifier, onBytes);
      const verdict = verifier.finish();
      if (verdict.fault === undefined || isLast) return verdict;
    } catch (error) {
      if (isLast || !isGone(error)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

function isWrittenTo(files: readonly string[]): boolean {
  const newestMs = Math.max(
    0,
    ...files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()),
  );
  return Date.now() - newestMs < auditLeftMs;
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** @param onBytes told now and then how many bytes were read since it was told last. Throws what `node:fs` throws. */
export function verifyFiles(
  files: readonly string[],
  verifier: Verifier,
  onBytes: (bytes: number) => void,
): void {
  const { ordered, newest, held } = inOrder(files);
  if (newest === undefined || held === undefined) return;
  try {
    for (const file of ordered) {
      if (verifier.done) return;
      withFile(file, (descriptor) => verifyFile(file, descriptor, verifier, onBytes));
    }
    if (verifier.done) return;
    // A gateway that was killed as it began its next file has left that.
    if (ordered.length > 0 && fstatSync(held).size === 0) verifier.noteEmpty(newest);
    else verifyFile(newest, held, verifier, onBytes);
  } finally {
    closeSync(held);
  }
}

export function bytesOf(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + statSync(file).size, 0);
}

interface Order {
  readonly ordered: readonly string[];
  readonly newest: string | undefined;
  /** The newest, held open from the beginning: the gateway may rename it meanwhile, and another file then has its name. */
  readonly held: number | undefined;
}

/** By what their headers say; a file that has been renamed still has its place. One that is empty comes last. */
function inOrder(files: readonly string[]): Order {
  let held: number | undefined;
  let newest: Numbered | undefined;
  const others: Numbered[] = [];
  for (const file of files) {
    const descriptor = openSync(file, 'r');
    const numbered = numberOf(file, descriptor);
    const isNewer = newest === undefined || compare(numbered, newest) >= 0;
    const other = isNewer ? newest : numbered;
    if (other !== undefined) others.push(other);
    const closed = isNewer ? held : descriptor;
    if (closed !== undefined) closeSync(closed);
    if (!isNewer) continue;
    newest = numbered;
    held = descriptor;
  }
  return { ordered: others.sort(compare).map(({ file }) => file), newest: newest?.file, held };
}

interface Numbered {
  readonly file: string;
  readonly log: string;
  readonly number: number;
}

function numberOf(file: string, descriptor: number): Numbered {
  const buffer = Buffer.alloc(4_096);
  const bytes = readSync(descriptor, buffer, 0, buffer.length, 0);
  const header = headerOf(buffer.toString('latin1', 0, bytes).split('\n', 1)[0] ?? '');
  if (bytes === 0) return { file, log: '~', number: 0 };
  return { file, log: header?.log ?? '', number: header?.file ?? 0 };
}

function compare(a: Numbered, b: Numbered): number {
  return Number(a.log > b.log) - Number(a.log < b.log) || a.number - b.number;
}

function verifyFile(
  file: string,
  descriptor: number,
  verifier: Verifier,
  onBytes: (bytes: number) => void,
): void {
  verifier.beginFile(file);
  const buffer = Buffer.alloc(pieceBytes + lineBytesMax);
  let line = 0;
  let held = 0;
  for (;;) {
    const bytes = readSync(descriptor, buffer, held, pieceBytes, null);
    if (bytes === 0) break;
    onBytes(bytes);
    const end = held + bytes;
    let start = 0;
    for (let mark = buffer.indexOf(10); mark !== -1 && mark < end; mark = buffer.indexOf(10, start)) {
      line += 1;
      verifier.take(buffer.subarray(start, mark), { file, line }, true);
      if (verifier.done) return;
      start = mark + 1;
    }
    if (end - start > lineBytesMax) {
      line += 1;
      verifier.take(buffer.subarray(start, end), { file, line }, true);
      start = end;
    }
    held = end - start;
    buffer.copyWithin(0, start, end);
  }
  if (held > 0) verifier.take(buffer.subarray(0, held), { file, line: line + 1 }, false);
}

function withFile<T>(file: string, work: (descriptor: number) => T): T {
  const descriptor = openSync(file, 'r');
  try {
    return work(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
