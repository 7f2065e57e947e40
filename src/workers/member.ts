/** One worker process as its primary sees it. */
import cluster, { type Worker } from 'node:cluster';
import { workerStartMsMax } from '../limits.ts';
import { watchHandoff } from './handoff.ts';
import type { QuestionName, Questions, ToPrimary, ToWorker } from './messages.ts';

export interface MemberEvents {
  /** What a worker asks for or tells, but for its start and its answers. */
  message(message: ToPrimary): void;
  /** It takes connections. */
  listening(): void;
  /** Told once, at its end. */
  ended(): void;
}

/** What is asked of a worker that has ended, or does not answer. */
export class NoAnswer extends Error {}

export class Member {
  readonly number: number;
  readonly startedMs = performance.now();
  /** Whether it knows what to run, and hears what all are told. */
  hasBegun = false;
  /** What keeps it from starting, in its own words. */
  sentences: readonly string[] | undefined;
  /** Where clients come in, once it listens. */
  traffic: string | undefined;
  hasUsers = true;
  readonly #worker: Worker;
  readonly #asked = new Map<number, { answer(given: unknown): void; none(): void }>();
  #questions = 0;
  #end: { readonly code: number | null; readonly signal: string | null } | undefined;
  readonly ended: Promise<void>;

  /** @param loaded asked once it is ready: what is in force by then */
  constructor(number: number, loaded: () => string, leads: boolean, events: MemberEvents) {
    this.number = number;
    this.#worker = cluster.fork();
    const letGo = watchHandoff(this.#worker);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    const patience = setTimeout(() => this.kill(), workerStartMsMax);
    this.#worker.on('message', (message: ToPrimary) => {
      if (message.kind === 'answer') this.#asked.get(message.id)?.answer(message.answer);
      else if (message.kind === 'ready') {
        this.tell({ kind: 'begin', loaded: loaded(), number, leads });
        this.hasBegun = true;
      } else if (message.kind === 'cannot_start') this.sentences = message.sentences;
      else if (message.kind === 'listening') {
        clearTimeout(patience);
        this.traffic = message.traffic;
        this.hasUsers = message.hasUsers;
        events.listening();
      } else events.message(message);
    });
    // A message to one that has just died.
    this.#worker.on('error', () => undefined);
    this.#worker.once('exit', (code: number | null, signal: string | null) => {
      clearTimeout(patience);
      letGo();
      this.#end = { code, signal };
      for (const { none } of this.#asked.values()) none();
      resolve();
      events.ended();
    });
  }

  get pid(): number | undefined {
    const { process: child } = this.#worker;
    return child.pid;
  }

  get isListening(): boolean {
    return this.traffic !== undefined && this.#end === undefined;
  }

  /** How it has ended, for people. */
  get end(): { readonly code: number | null; readonly signal: string | null } | undefined {
    return this.#end;
  }

  tell(message: ToWorker): void {
    if (this.#worker.isConnected()) this.#worker.send(message, () => undefined);
  }

  /** @throws NoAnswer */
  async ask<Name extends QuestionName>(
    question: Name,
    given: Questions[Name]['with'],
    patienceMs: number,
  ): Promise<Questions[Name]['answer']> {
    this.#questions += 1;
    const id = this.#questions;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const none = () => reject(new NoAnswer(`worker ${this.number} does not answer`));
    const patience = setTimeout(none, patienceMs);
    this.#asked.set(id, { answer: resolve, none });
    this.tell({ kind: 'ask', id, question, with: given });
    try {
      return (await promise) as Questions[Name]['answer'];
    } finally {
      clearTimeout(patience);
      this.#asked.delete(id);
    }
  }

  /** Ends it in order; one that has not begun has nothing to put in order, and hears nothing yet. */
  stop(): void {
    if (this.hasBegun) this.tell({ kind: 'stop' });
    else this.kill();
  }

  kill(): void {
    const { process: child } = this.#worker;
    child.kill('SIGKILL');
  }
}
