/** Reads small files whole: the configuration and what it names. */
import { closeSync, openSync, readSync } from 'node:fs';

const textFileBytesMax = 65_536;

/**
 * A text file of at most 64 KiB, or as told. Throws what `node:fs` throws, `EFBIG` for one too large, and
 * `ERR_ENCODING_INVALID_ENCODED_DATA` for what is not UTF-8.
 */
export function readTextFile(path: string, bytesMax = textFileBytesMax): string {
  return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(readBounded(path, bytesMax));
}

/** Reads a file or a pipe, whose size is not known before; one too large is `EFBIG`. */
export function readBounded(path: string, bytesMax: number): Uint8Array {
  const descriptor = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(bytesMax + 1);
    let bytes = 0;
    for (let read = -1; read !== 0 && bytes <= bytesMax; bytes += read) {
      read = readSync(descriptor, buffer, bytes, buffer.length - bytes, null);
    }
    if (bytes > bytesMax) throw Object.assign(new Error('too large'), { code: 'EFBIG' });
    return buffer.subarray(0, bytes);
  } finally {
    closeSync(descriptor);
  }
}
