/**
 * Two kinds of time that must not be mixed: wall time can step, monotonic time cannot.
 * Both are milliseconds; seconds appear only at JWT claims, `Retry-After`, the audit record and Prometheus.
 */
declare const wall: unique symbol;
declare const monotonic: unique symbol;

/** Milliseconds since the Unix epoch. May jump when the machine's clock is set. */
export type WallMs = number & { readonly [wall]: true };

/** Milliseconds since an arbitrary start, with a fraction. Never goes back. */
export type MonotonicMs = number & { readonly [monotonic]: true };

/** The only source of time; passed in, so that a test can own it. */
export interface Clock {
  wallMs(): WallMs;
  monotonicMs(): MonotonicMs;
}

/** The machine's clocks. */
export const systemClock: Clock = {
  wallMs: () => Date.now() as WallMs,
  monotonicMs: () => performance.now() as MonotonicMs,
};
