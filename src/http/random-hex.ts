/**
 * Random ids, not secrets: what was given out stays in the pool for a while. To ask the system for a few thousand
 * bytes at once costs what asking for a few does.
 */
import { randomFillSync } from 'node:crypto';

const pool = Buffer.alloc(4_096);
let used = pool.length;

/** @param bytes 1 to 4096, each of them used once; twice as many characters come back, in lower case */
export function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('hex', used - bytes, used);
}
