/** What is to be said of a log. */
import type { Link } from './chain.ts';

/** Where a line stands. */
export interface At {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

export type FaultKind =
  | 'altered'
  | 'removed'
  | 'inserted'
  | 'reordered'
  | 'cut_off'
  | 'bad_signature'
  | 'unknown_key'
  | 'beginning';

export interface Fault extends At {
  readonly kind: FaultKind;
  /** A sentence for people. */
  readonly why: string;
}

/** What is no fault, and yet something an operator should know. */
export interface Note extends At {
  readonly kind: 'torn' | 'unsigned_chain' | 'earlier_files' | 'open_chain' | 'empty_file';
  readonly why: string;
}

export interface Verdict {
  readonly fault: Fault | undefined;
  readonly notes: readonly Note[];
  readonly records: number;
  /**
   * Records that their own process has not signed for (nor the head given covers): whoever can write to the file
   * could have made them.
   */
  readonly unproven: number;
  /** The first of them. */
  readonly unprovenFrom: At | undefined;
  /**
   * The last records of processes that were killed before they could sign for them, half ones too; the next one found
   * them so.
   */
  readonly vouched: number;
  /** The last line of the chain that was written to last; to be kept elsewhere. */
  readonly head: Link | undefined;
}
