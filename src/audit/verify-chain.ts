/** What a verifier keeps of one chain of a log. */
import type { Link } from './chain.ts';
import type { At } from './verdict.ts';

export interface ChainState {
  seq: number;
  hash: string;
  at: At;
  /** Up to here a signature of its own covers it. */
  signedSeq: number;
  /** Up to here a signature of another process says that it was there. */
  seenSeq: number;
  /** The first record that no signature of its own covers. */
  unsignedAt: At | undefined;
  /** Whether there is any signature of its own. */
  isSigned: boolean;
  ended: boolean;
  /** Where it stood when the first file begins that is looked at, if it is older than that. */
  from: Link | undefined;
  /** Which line of all it began with, and which was the last; by which of them it has signed, and by which before that. */
  begunAt: number;
  lastAt: number;
  signedAt: number;
  signedBeforeAt: number;
  /** Its last signature says that others write to the file all the time. */
  isInCompany: boolean;
  /** By which line of all it has joined the file of now. */
  joinedAt: number;
  /** How many checkpoints there were when its last line came; and by how many that are alone with their file. */
  checkpointsAtLast: number;
  aloneAtLast: number;
  /**
   * Some of what it has not signed came when it may have been dead, and anyone could add that: another process had
   * signed meanwhile; or, where processes write beside each other, one that began after its own last signature, for
   * whoever ran beside it all the time says nothing of its end.
   */
  isLate: boolean;
}

/** What has come before a line. */
export interface Moment {
  /** Which of all it is. */
  readonly line: number;
  readonly checkpoints: number;
  readonly aloneCheckpoints: number;
}

export function newChain({ seq, hash }: Pick<Link, 'seq' | 'hash'>, at: At, moment: Moment): ChainState {
  const { line, checkpoints, aloneCheckpoints } = moment;
  return {
    seq,
    hash,
    at,
    signedSeq: seq,
    seenSeq: seq,
    unsignedAt: undefined,
    isSigned: false,
    ended: false,
    from: undefined,
    isInCompany: false,
    joinedAt: 0,
    begunAt: line,
    lastAt: line,
    signedAt: 0,
    signedBeforeAt: 0,
    checkpointsAtLast: checkpoints,
    aloneAtLast: aloneCheckpoints,
    isLate: false,
  };
}

/** A chain that goes on from a file that is not looked at. */
export function fromBefore(link: Link, at: At, moment: Moment): ChainState {
  return { ...newChain(link, at, moment), from: link, isSigned: true, signedAt: moment.line };
}

/** Nothing of it has come in the files that are looked at. */
export function isUntouched({ from, seq }: ChainState): boolean {
  return from?.seq === seq;
}

export function nameOf({ chain, seq }: Link): string {
  return `record ${seq} of chain ${short(chain)}`;
}

export function short(chain: string): string {
  return chain.slice(0, 8);
}
