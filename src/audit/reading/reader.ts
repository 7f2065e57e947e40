/**
 * Asks the thread that reads the log. It is started by a question, and now and then so that its index never
 * lags far behind. It costs 10 MiB, and ends when it has read all and nobody has asked for a while.
 */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import {
  auditIndexLookMs,
  auditReaderIdleMs,
  auditReaderQuestionsMax,
  auditReaderTimeoutMs,
} from '../../limits.ts';
import type { Filter } from './filter.ts';
import type { Found, Page, PageLimits } from './log-files.ts';
import type { Place } from './place.ts';
import type { Fault, isUpToDate, Question } from './worker.ts';

/** Why there is no answer. */
export class ReadingError extends Error {
  readonly fault: Fault | 'busy';

  constructor(fault: Fault | 'busy', message: string) {
    super(message);
    this.fault = fault;
  }
}

interface Asked {
  resolve(result: unknown): void;
  reject(error: ReadingError): void;
  readonly timer: NodeJS.Timeout;
}

interface Reply {
  readonly id: number;
  readonly result?: unknown;
  readonly fault?: Fault;
  readonly message?: string;
}

/** Spares the thread a compiler, as it does the program. */
const withoutTypes = fileURLToPath(new URL('../../without-types.cjs', import.meta.url));

const usualTimes = { idleMs: auditReaderIdleMs, lookMs: auditIndexLookMs };

/** What the thread may keep for itself; its work needs a tenth. */
const heapMiBMax = 128;

export class LogReader {
  readonly #path: string;
  readonly #times: typeof usualTimes;
  readonly #asked = new Map<number, Asked>();
  #worker: Worker | undefined;
  #lastId = 0;
  #look: NodeJS.Timeout | undefined;
  #askedMs = Number.NEGATIVE_INFINITY;

  /** @param path of the file that is written */
  constructor(path: string, times = usualTimes) {
    this.#path = path;
    this.#times = times;
  }

  /** Starts the thread now and again, so that the index is there when somebody asks. */
  start(): void {
    this.#look ??= setInterval(() => {
      this.#worker ??= this.#open();
    }, this.#times.lookMs).unref();
  }

  /** The newest records that match. @throws ReadingError */
  page(filter: Filter, from: Place | undefined, limits: PageLimits): Promise<Page> {
    return this.#ask({ ask: 'page', filter, from, limits });
  }

  /** What came behind a place, oldest first. @throws ReadingError */
  follow(
    filter: Filter,
    from: Place | undefined,
    limits: PageLimits,
  ): Promise<{ readonly found: readonly Found[]; readonly next: Place | undefined }> {
    return this.#ask({ ask: 'follow', filter, from, limits });
  }

  /** Where the log ends now. @throws ReadingError */
  end(): Promise<Place | undefined> {
    return this.#ask({ ask: 'end' });
  }

  async close(): Promise<void> {
    clearInterval(this.#look);
    const worker = this.#worker;
    this.#worker = undefined;
    this.#rejectAll('the gateway is ending');
    await worker?.terminate();
  }

  #ask<Result>(question: Question): Promise<Result> {
    if (this.#asked.size >= auditReaderQuestionsMax)
      return Promise.reject(new ReadingError('busy', 'too many questions are waiting'));
    this.#worker ??= this.#open();
    const worker = this.#worker;
    this.#askedMs = performance.now();
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<Result>((resolve, reject) => {
      const timer = setTimeout(() => this.#dead(worker, 'it does not answer'), auditReaderTimeoutMs);
      this.#asked.set(id, { resolve: resolve as (result: unknown) => void, reject, timer });
      worker.postMessage({ id, question });
    });
  }

  #open(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: { path: this.#path },
      resourceLimits: { maxOldGenerationSizeMb: heapMiBMax },
      env: {},
      execArgv: ['--require', withoutTypes],
    });
    worker.unref();
    worker.on('message', (said: Reply | typeof isUpToDate) => {
      if (typeof said === 'object') this.#take(said);
      else this.#endIdle(worker);
    });
    worker.on('error', (error) => this.#dead(worker, String(error)));
    worker.on('exit', () => this.#dead(worker, 'it has ended'));
    return worker;
  }

  #take({ id, result, fault, message = '' }: Reply): void {
    const asked = this.#asked.get(id);
    if (asked === undefined) return;
    this.#asked.delete(id);
    clearTimeout(asked.timer);
    if (fault === undefined) asked.resolve(result);
    else asked.reject(new ReadingError(fault, message));
  }

  /** It has nothing left to read, and nobody has asked for a while. */
  #endIdle(worker: Worker): void {
    if (this.#worker !== worker || this.#asked.size > 0) return;
    if (performance.now() - this.#askedMs < this.#times.idleMs) return;
    this.#worker = undefined;
    void worker.terminate();
  }

  #dead(worker: Worker, why: string): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    void worker.terminate();
    this.#rejectAll(`the thread that reads the log: ${why}`);
  }

  #rejectAll(why: string): void {
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(new ReadingError('failed', why));
    }
    this.#asked.clear();
  }
}
