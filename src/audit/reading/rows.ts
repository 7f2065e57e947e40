/**
 * One row of 24 bytes for each record of a log file, in the file's order: where it stands, when it was, and digests
 * of what can be asked for. A row can say that its record may match; the record itself says whether it does.
 *
 *     word 0  offset, low 32 bits         word 1  offset, high 16 bits | status << 16
 *     word 2  milliseconds, low 32 bits   word 3  milliseconds, high 16 bits | decision << 30 | code << 16
 *     word 4  principal                   word 5  path
 */
import type { Facts, Filter } from './filter.ts';

export const rowBytes = 24;
export const rowWords = rowBytes / 4;

const twoTo32 = 2 ** 32;

export function writeRow(words: Uint32Array, at: number, offset: number, facts: Facts): void {
  words[at] = offset % twoTo32;
  words[at + 1] = (Math.floor(offset / twoTo32) & 0xffff) | (facts.status << 16);
  words[at + 2] = facts.timeMs % twoTo32;
  words[at + 3] = (Math.floor(facts.timeMs / twoTo32) & 0xffff) | (wordOf(facts.decision, facts.code) << 16);
  words[at + 4] = digest(facts.principal);
  words[at + 5] = digest(facts.path);
}

export function offsetIn(words: Uint32Array, at: number): number {
  return (words[at] ?? 0) + ((words[at + 1] ?? 0) & 0xffff) * twoTo32;
}

export function timeMsIn(words: Uint32Array, at: number): number {
  return (words[at + 2] ?? 0) + ((words[at + 3] ?? 0) & 0xffff) * twoTo32;
}

/** A filter in the form of rows. */
export function rowTest(filter: Filter): (words: Uint32Array, at: number) => boolean {
  const { status, fromMs, toMs } = filter;
  const principal = filter.principal === undefined ? undefined : digest(filter.principal);
  const path = filter.path === undefined ? undefined : digest(filter.path);
  const decision = filter.decision === undefined ? undefined : decisionNumber(filter.decision);
  const code = filter.code === undefined ? undefined : codeDigest(filter.code);
  const timed = fromMs !== undefined || toMs !== undefined;
  return (words, at) => {
    if (principal !== undefined && words[at + 4] !== principal) return false;
    if (path !== undefined && words[at + 5] !== path) return false;
    if (status !== undefined) {
      const given = (words[at + 1] ?? 0) >>> 16;
      if (given < status[0] || given > status[1]) return false;
    }
    const high = words[at + 3] ?? 0;
    if (decision !== undefined && high >>> 30 !== decision) return false;
    if (code !== undefined && ((high >>> 16) & codeMask) !== code) return false;
    if (!timed) return true;
    const timeMs = timeMsIn(words, at);
    return timeMs >= (fromMs ?? 0) && timeMs < (toMs ?? Number.POSITIVE_INFINITY);
  };
}

const codeMask = 0x3fff;

function wordOf(decision: string | undefined, code: string | undefined): number {
  return (decisionNumber(decision) << 14) | codeDigest(code);
}

/** Another decision than these is no number of its own, and found by reading the records. */
function decisionNumber(decision: string | undefined): number {
  return decision === 'allow' ? 1 : decision === 'deny' ? 2 : decision === 'error' ? 3 : 0;
}

function codeDigest(code: string | undefined): number {
  return code === undefined ? 0 : digest(code) & codeMask;
}

/** FNV-1a over the text's code units; 0 is nothing at all. */
export function digest(text: string | undefined): number {
  if (text === undefined) return 0;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0 || 1;
}
