/** Bytes that are passed on and needed by nobody afterwards. */
import type { Writable } from 'node:stream';

/** Less than this is not worth a callback. */
const releasedBytesMin = 16 * 1024;

/**
 * Writes a chunk, and gives its memory back as soon as the kernel has it. V8 counts what a socket was read into, but
 * collects it late: clients who read nothing let as much of it pass as the kernel's buffers hold, megabytes for each.
 * @param chunk the writer's own: nobody may look at it again
 * @returns what `write` returns
 */
export function handOver(writable: Writable, chunk: Buffer): boolean {
  if (!fillsItsMemory(chunk)) return writable.write(chunk);
  // Called after the write is over, well or not, so that nobody reads from there any more.
  return writable.write(chunk, () => {
    chunk.buffer.transfer(0);
  });
}

/** Whether no other chunk can lie in the same memory, and it is worth giving back. */
export function fillsItsMemory(chunk: Buffer): chunk is Buffer<ArrayBuffer> {
  return (
    chunk.length >= releasedBytesMin &&
    chunk.length === chunk.buffer.byteLength &&
    chunk.buffer instanceof ArrayBuffer
  );
}
