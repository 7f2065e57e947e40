/** A clock that only a test moves. */
import type { Clock, MonotonicMs, WallMs } from '../../src/clock.ts';

export class FakeClock implements Clock {
  nowMs: number;

  /** @param nowMs where both of its times start */
  constructor(nowMs: number = Date.parse('2030-01-01T00:00:00Z')) {
    this.nowMs = nowMs;
  }

  wallMs(): WallMs {
    return this.nowMs as WallMs;
  }

  monotonicMs(): MonotonicMs {
    return this.nowMs as MonotonicMs;
  }
}
