/** Reads files that an operator has named: keys, certificates, secrets. Both programs need it, the URLs of databases first. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * A regular file, whole. Whatever else stands there is refused and never waited for: a pipe without a writer would hold
 * up the process.
 * @throws what `node:fs` throws, and errors with the code `EISDIR`, `NOT_REGULAR` (a pipe, a socket, a device) or
 *   `EFBIG` (more than `bytesMax`)
 */
export function readRegularFile(path: string, bytesMax: number): Uint8Array {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = fstatSync(descriptor);
    if (status.isDirectory()) throw unreadable('EISDIR', 'a directory');
    if (!status.isFile()) throw unreadable('NOT_REGULAR', 'not a regular file');
    return readAll(descriptor, bytesMax);
  } finally {
    closeSync(descriptor);
  }
}

/** To its end, whatever its size was said to be: it may be growing. */
export function readAll(descriptor: number, bytesMax: number): Uint8Array {
  const buffer = Buffer.alloc(bytesMax + 1);
  let bytes = 0;
  for (let read = -1; read !== 0 && bytes <= bytesMax; bytes += read) {
    read = readSync(descriptor, buffer, bytes, buffer.length - bytes, null);
  }
  if (bytes > bytesMax) throw unreadable('EFBIG', 'too large');
  return buffer.subarray(0, bytes);
}

function unreadable(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
