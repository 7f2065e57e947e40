/** Buckets in Redis: one script decides, on Redis's own clock. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { RateClass } from '../exchange.ts';
import { RedisFault } from '../redis/fault.ts';
import { fullTicks } from './arithmetic.ts';

/** The part of a Redis client that is needed here. */
export interface Sender {
  send(command: string, ...args: ReadonlyArray<string | number>): Promise<unknown>;
}

/** What a replica says of units it had on lease. */
export interface LeaseReport {
  /** When the bucket came to be and when the lease ends, as Redis had said. */
  readonly born: number;
  readonly expiryUs: number;
  readonly spent: number;
  readonly kept: number;
  readonly returned: number;
}

export interface Ask {
  /** Units of one request. */
  readonly cost: number;
  /** Requests of this cost that ask at once; 0 only reports. */
  readonly count: number;
  /** Units wished on lease. */
  readonly ahead: number;
  readonly report: LeaseReport | undefined;
}

export interface Answer {
  /** Requests that pass, of those that asked. */
  readonly admitted: number;
  readonly leased: number;
  /** Of the units that the report said were kept: all, or 0 if they had come to an end. */
  readonly kept: number;
  readonly debtTicks: number;
  readonly expiryUs: number;
  readonly born: number;
}

/** Buckets are spread over so many hash tags, and so over the nodes of a cluster. */
export const lanes = 64;

const script = readFileSync(new URL('take.lua', import.meta.url), 'utf8');

export class ScriptStore {
  readonly #sender: Sender;
  readonly #deadlineMs: number;
  readonly #script: string;
  readonly #digest: string;

  /** @param source the script; another one only where a test moves its clock */
  constructor(sender: Sender, deadlineMs: number, source: string = script) {
    this.#sender = sender;
    this.#deadlineMs = deadlineMs;
    this.#script = source;
    this.#digest = createHash('sha1').update(source).digest('hex');
  }

  /**
   * One round trip. What was sent is never sent again: after a failure the units may be gone, never given twice.
   * @throws RedisFault for no answer in time, an error, or an answer that makes no sense
   */
  async ask(rateClass: RateClass, partition: string, ask: Ask): Promise<Answer> {
    const { refillUnits, refillPeriodUs } = rateClass;
    const { cost, count, ahead, report } = ask;
    const args: Array<string | number> = [
      1,
      redisKey(rateClass, partition),
      fullTicks(rateClass),
      refillUnits,
      refillPeriodUs,
      cost,
      count,
      ahead,
    ];
    if (report !== undefined)
      args.push(report.born, report.expiryUs, report.spent, report.kept, report.returned);
    return answerOf(await before(this.#deadlineMs, this.#run(args)), rateClass, ask);
  }

  /** The script's whole text is sent only when Redis does not have it, and then it has not been run. */
  async #run(args: ReadonlyArray<string | number>): Promise<unknown> {
    try {
      return await this.#sender.send('EVALSHA', this.#digest, ...args);
    } catch (error) {
      if (!(error instanceof RedisFault) || error.reply !== 'NOSCRIPT') throw error;
      return await this.#sender.send('EVAL', this.#script, ...args);
    }
  }
}

/** Which hash tag a bucket has: a number, so that nothing a client sends can choose it or break out of it. */
export function laneOf(partition: string): number {
  // FNV-1a.
  let hash = 0x811c9dc5;
  for (let index = 0; index < partition.length; index += 1)
    hash = Math.imul(hash ^ partition.charCodeAt(index), 0x01000193);
  return (hash >>> 0) % lanes;
}

function redisKey(rateClass: RateClass, partition: string): string {
  return `portcullis:{${laneOf(partition)}}:${rateClass.name}:${partition}`;
}

/**
 * Rejects when `work` takes longer; what becomes of it then, nobody waits for. Time in which this process itself stood
 * still does not count against Redis, once: its answer may lie there unread.
 */
function before<Result>(withinMs: number, work: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    let timer = setTimeout(onTime, withinMs);
    let startedMs = performance.now();
    let isSecondChance = false;
    function onTime() {
      const lateMs = performance.now() - startedMs - withinMs;
      if (lateMs > stallMs && !isSecondChance) {
        isSecondChance = true;
        startedMs = performance.now();
        timer = setTimeout(onTime, withinMs);
      } else setImmediate(giveUp);
    }
    // After what has been received by now was read.
    const giveUp = () => reject(new RedisFault(`no answer within ${withinMs} ms`));
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** A timer that is late by more shows that this process stood still. */
const stallMs = 5;

/** Whatever answers may be another program, or another script. */
function answerOf(reply: unknown, rateClass: RateClass, { count, ahead, report }: Ask): Answer {
  const numbers =
    Array.isArray(reply) && reply.length === 6 && reply.every(Number.isSafeInteger) ? reply : [];
  const [admitted = -1, leased = -1, kept = -1, debtTicks = -1, expiryUs = -1, born = -1] = numbers;
  const isSane =
    isWithin(admitted, count) &&
    isWithin(leased, ahead) &&
    (kept === 0 || kept === report?.kept) &&
    isWithin(debtTicks, fullTicks(rateClass)) &&
    expiryUs >= 0 &&
    born >= 0;
  if (!isSane) throw new RedisFault('an answer that makes no sense');
  return { admitted, leased, kept, debtTicks, expiryUs, born };
}

function isWithin(value: number, max: number): boolean {
  return value >= 0 && value <= max;
}
