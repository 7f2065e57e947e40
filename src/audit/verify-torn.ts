/**
 * Lines of a log that are neither records nor headers. One that a crash or a full disk has cut short is told of, by its
 * hash, in a checkpoint soon after; any other was put there. And even one that is told of may have been: processes beside
 * each other tell of whatever looks like half a line. So it has to be one that the teller itself has begun, or to stand
 * behind the last line of a process that was killed there.
 */
import { hashOf } from './chain.ts';
import { linksOfOneMax, type TornLine } from './log-files.ts';
import type { At } from './verdict.ts';

/** A line that is neither a record nor a header. */
interface Broken extends TornLine {
  readonly at: At;
  /** Which line of all. */
  readonly index: number;
  /** Which line of all the youngest process began with that had signed before it. */
  readonly since: number;
  /** Checkpoints before it, or before those that had more to tell. */
  checkpoints: number;
}

/** A process that has no end in the log, by which line of all was its last. */
export type KilledAt = number;

/** More than a process tells of. */
const brokenMax = 512;
/** Told of by others than their own process: one of each process that was killed. */
const toldMax = 20_000;
/** A line of another process is vouched for by the next checkpoint of each one, or the one after it. */
export const checkpointsToVouch = 2;

export class BrokenLines {
  readonly #untold: Broken[] = [];
  readonly #told: Broken[] = [];
  /** Told of, and more than could be kept. */
  #surplus = 0;
  readonly #onOwn: (at: At) => void;

  /** @param onOwn told of each that its own process has begun */
  constructor(onOwn: (at: At) => void) {
    this.#onOwn = onOwn;
  }

  /** The first that nobody has told of. */
  get first(): At | undefined {
    return this.#untold[0]?.at;
  }

  get untold(): number {
    return this.#untold.length;
  }

  /** False where there are more than any process leaves. */
  add(line: Buffer, where: Pick<Broken, 'at' | 'index' | 'since' | 'checkpoints'>): boolean {
    this.#untold.push({ bytes: line.length, hash: hashOf(line), ...where });
    return this.#untold.length <= brokenMax;
  }

  /** What a checkpoint tells of. @param onUnknown called with the hash of each that stands nowhere as half a line */
  tell(torn: readonly TornLine[], checkpoints: number, onUnknown: (hash: string) => void): void {
    for (const line of torn) {
      if (line.own) this.#tellOwn(line);
      const found = taken(this.#untold, line);
      if (found === undefined) onUnknown(line.hash);
      else if (line.own) this.#onOwn(found.at);
      else if (this.#told.length < toldMax) this.#told.push(found);
      else this.#surplus += 1;
    }
    // One checkpoint has no room for all that a full disk has torn: the next one goes on.
    if (torn.length >= linksOfOneMax) for (const one of this.#untold) one.checkpoints = checkpoints;
  }

  /** Others may have been quicker to tell of it. */
  #tellOwn(line: TornLine): void {
    const found = taken(this.#told, line);
    if (found !== undefined) this.#onOwn(found.at);
  }

  /** One that nobody has told of in time. @param writers processes that may have to: those beside them sign meanwhile */
  overdue(checkpoints: number, writers: () => number): At | undefined {
    const [oldest] = this.#untold;
    if (oldest === undefined || checkpoints - oldest.checkpoints < checkpointsToVouch) return undefined;
    return checkpoints - oldest.checkpoints >= checkpointsToVouch * Math.max(1, writers())
      ? oldest.at
      : undefined;
  }

  /** One with signed lines behind it. What stands at the very end may be torn, and nobody was there yet to say so. */
  inside(lastGood: number, checkpoints: number): At | undefined {
    return this.#untold.find((one) => one.index < lastGood && checkpoints > one.checkpoints)?.at;
  }

  /** Those told of by others, by whether a process was killed there: each leaves one at most. */
  explained(killed: readonly KilledAt[]): { left: readonly At[]; strange: readonly At[]; surplus: number } {
    const free = killed.toSorted((a, b) => a - b);
    const left: At[] = [];
    const strange: At[] = [];
    for (const { at, index, since } of this.#told.toSorted((a, b) => a.index - b.index)) {
      while (free[0] !== undefined && free[0] < since) free.shift();
      const isLeft = free[0] !== undefined && free[0] < index;
      if (isLeft) free.shift();
      (isLeft ? left : strange).push(at);
    }
    return { left, strange, surplus: this.#surplus };
  }
}

function taken(lines: Broken[], { bytes, hash }: TornLine): Broken | undefined {
  const index = lines.findIndex((one) => one.bytes === bytes && one.hash === hash);
  return index === -1 ? undefined : lines.splice(index, 1)[0];
}
