/** Reads small files whole: the configuration and what it names. */
import { closeSync, openSync } from 'node:fs';
import { readAll, readRegularFile } from '../sql/regular-file.ts';

const textFileBytesMax = 65_536;

/**
 * A text file of at most 64 KiB, or as told; a pipe or a directory in its place is refused. Throws what
 * `readRegularFile` throws, and `ERR_ENCODING_INVALID_ENCODED_DATA` for what is not UTF-8.
 */
export function readTextFile(path: string, bytesMax = textFileBytesMax): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readRegularFile(path, bytesMax));
}

/** A file or a pipe, which is waited for; one too large is `EFBIG`. */
export function readPipe(path: string, bytesMax: number): Uint8Array {
  const descriptor = openSync(path, 'r');
  try {
    return readAll(descriptor, bytesMax);
  } finally {
    closeSync(descriptor);
  }
}
