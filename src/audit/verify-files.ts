/** Verifies the files of a log in their order, whatever their names, a piece at a time. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { auditRecordBytesMax } from '../limits.ts';
import { headerOf } from './log-files.ts';
import type { Verifier } from './verify.ts';

const pieceBytes = 1024 * 1024;
/** No line of ours is longer than the half; what is longer is cut here, so that memory stays bounded. */
const lineBytesMax = 2 * auditRecordBytesMax;

/** @param onBytes told now and then how many bytes were read since it was told last. Throws what `node:fs` throws. */
export function verifyFiles(
  files: readonly string[],
  verifier: Verifier,
  onBytes: (bytes: number) => void,
): void {
  const ordered = inOrder(files);
  const newest = ordered.pop();
  if (newest === undefined) return;
  // Held open from the beginning: the gateway may rename it meanwhile, and another file then has its name.
  withFile(newest, (held) => {
    for (const file of ordered) {
      if (verifier.done) return;
      withFile(file, (descriptor) => verifyFile(file, descriptor, verifier, onBytes));
    }
    if (!verifier.done) verifyFile(newest, held, verifier, onBytes);
  });
}

export function bytesOf(files: readonly string[]): number {
  return files.reduce((sum, file) => sum + statSync(file).size, 0);
}

/** By what their headers say; a file that has been renamed still has its place. */
function inOrder(files: readonly string[]): string[] {
  const numbered = files.map((file) => {
    const header = headerOf(beginningOf(file).split('\n', 1)[0] ?? '');
    return { file, log: header?.log ?? '', number: header?.file ?? 0 };
  });
  numbered.sort((a, b) => a.log.localeCompare(b.log) || a.number - b.number);
  return numbered.map(({ file }) => file);
}

function beginningOf(file: string): string {
  return withFile(file, (descriptor) => {
    const buffer = Buffer.alloc(4_096);
    return buffer.toString('latin1', 0, readSync(descriptor, buffer));
  });
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
