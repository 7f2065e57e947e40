/** A line that does not fit the one before it in its chain: which of the two was touched, and how. */
import type { Place } from './chain.ts';
import type { At, Fault } from './verdict.ts';
import { short } from './verify-chain.ts';

/** A fault whose culprit the next line of the chain tells. */
export interface Suspicion {
  readonly chain: string;
  /** The line before, and the line that does not fit it. */
  readonly before: { readonly at: At; readonly seq: number; readonly hash: string };
  readonly found: { readonly at: At; readonly place: Place; readonly hash: string };
  /** Of the line found, when it is a checkpoint. */
  readonly isSigned: boolean | undefined;
  /** Its place is right, but its signature is not. */
  readonly badSignature: boolean;
  readonly provenUpTo: At | undefined;
  readonly broken: At | undefined;
}

/** A record that is missing may come later: that one is waited for; else the next line of the chain tells. */
export function waitsFor({ before, found }: Suspicion, { seq }: Place): boolean {
  const isGap = found.place.seq > before.seq + 1 && found.place.prev !== before.hash;
  return !isGap || seq === before.seq + 1;
}

/** @param next the line that follows in the chain; none when the log ends */
export function suspectedFault(
  suspicion: Suspicion,
  next: { readonly place: Place; readonly hash: string } | undefined,
): Fault {
  const { before, found, badSignature, isSigned, provenUpTo, broken } = suspicion;
  const { place } = found;
  const goesOn = next === undefined ? isSigned !== false : next.place.prev === found.hash;
  if (badSignature) return goesOn ? forged(found.at, provenUpTo) : altered(found.at, place);
  if (broken !== undefined) return { ...broken, kind: 'altered', why: 'this is no record any more' };
  if (place.seq > before.seq + 1) {
    if (place.prev === before.hash) return altered(found.at, place);
    const missing = `record ${before.seq + 1} of chain ${short(place.chain)} should stand before this one (record ${place.seq})`;
    const isLater = next !== undefined && next.place.seq === before.seq + 1;
    return isLater
      ? { ...found.at, kind: 'reordered', why: `${missing}, and comes after it` }
      : { ...found.at, kind: 'removed', why: missing };
  }
  if (place.seq === before.seq + 1) {
    return goesOn && before.seq > 0
      ? altered(before.at, { ...place, seq: before.seq })
      : altered(found.at, place);
  }
  if (place.prev === before.hash && !goesOn) return altered(found.at, place);
  const why = `record ${place.seq} of chain ${short(place.chain)} stands here after record ${before.seq}: one of the two was put here, moved, or replayed`;
  return { ...found.at, kind: goesOn ? 'inserted' : 'reordered', why };
}

function altered(at: At, { chain, seq }: { chain: string; seq: number }): Fault {
  return { ...at, kind: 'altered', why: `record ${seq} of chain ${short(chain)} is not what was written` };
}

function forged(at: At, provenUpTo: At | undefined): Fault {
  const from = provenUpTo === undefined ? 'the beginning' : `line ${provenUpTo.line} of ${provenUpTo.file}`;
  const why = `the signature is not of what stands here: between ${from} and this line something was altered, and the hashes were made to fit`;
  return { ...at, kind: 'bad_signature', why };
}
