/** The bucket that failed credentials take from, by client address: a flood of guesses pays before it costs. */
export interface Failures {
  /** Throws `too_many_failures` when this address has used up its failures. Asked before any work that costs. */
  check(address: string): void;
  /** Takes one unit. Called after a credential failed. */
  record(address: string): void;
}
