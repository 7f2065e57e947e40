/** The workers of a gateway: started, watched, started anew when they die, and brought to another configuration together. */
import cluster from 'node:cluster';
import type { LoadedConfig } from '../config/load.ts';
import { requireNoRestart } from '../config-in-force.ts';
import {
  workerAnswerMs,
  workerEndMs,
  workerPrepareMs,
  workerRestartMaxMs,
  workerRestartMinMs,
  workerSettledMs,
} from '../limits.ts';
import { ReloadError } from '../reload.ts';
import { StartError } from '../start-error.ts';
import type { MetricSnapshot } from '../telemetry/exposition.ts';
import type { Logger } from '../telemetry/log.ts';
import { retire, type Told } from './aggregation.ts';
import { Member, NoAnswer } from './member.ts';
import {
  packed,
  type QuestionName,
  type Questions,
  type ToPrimary,
  type ToWorker,
  unpacked,
} from './messages.ts';
import { shareOfOne } from './share.ts';

export interface CrewOptions {
  /** The program that a worker runs. */
  readonly program: { readonly path: string; readonly args: readonly string[] };
  readonly log: Logger;
  /** What a worker asks for. @param reply to that worker, @param tellAll every worker */
  readonly onMessage: (
    message: ToPrimary,
    reply: (message: ToWorker) => void,
    tellAll: (message: ToWorker) => void,
  ) => void;
  /** One that had started has ended by itself. */
  readonly onDied: () => void;
}

/** The number of the worker that starts first, and makes the audit file give way to the next one. */
const leader = 1;

export class Crew {
  readonly #options: CrewOptions;
  readonly #size: number;
  readonly #members = new Map<number, Member>();
  /** Ends in a row, by number, of which none was a long life. */
  readonly #failures = new Map<number, number>();
  readonly #restarts = new Set<NodeJS.Timeout>();
  /** By number: what it told last, for when it does not answer. */
  readonly #lastTold = new Map<number, readonly MetricSnapshot[]>();
  #gone: MetricSnapshot[] = [];
  #loaded: LoadedConfig;
  #share: string;
  #isStarted = false;
  #isClosing = false;

  constructor(loaded: LoadedConfig, options: CrewOptions) {
    this.#options = options;
    this.#size = loaded.config.workers;
    this.#loaded = loaded;
    this.#share = shareOf(loaded);
  }

  /** What workers that have ended had counted. */
  get gone(): readonly MetricSnapshot[] {
    return this.#gone;
  }

  get listening(): number {
    return [...this.#members.values()].filter(({ isListening }) => isListening).length;
  }

  /** Whether any of them takes connections: those of one that has died go to the others. */
  get isServing(): boolean {
    return !this.#isClosing && this.listening > 0;
  }

  /**
   * One first: what is made at a first start (tables, keys, the log's first file) is made once, and what is wrong with
   * the configuration is told once.
   * @returns where clients come in, and whether there is a user
   * @throws StartError with the words of the worker that could not start
   */
  async start(): Promise<{ traffic: string; hasUsers: boolean }> {
    const { path, args } = this.#options.program;
    cluster.setupPrimary({ exec: path, args: [...args], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    // Connections are dealt out in turn: left to the kernel, one worker gets most of them.
    cluster.schedulingPolicy = cluster.SCHED_RR;
    const first = await this.#begin(leader);
    const others = Array.from({ length: this.#size - 1 }, (_, index) => this.#begin(leader + 1 + index));
    await Promise.all(others);
    this.#isStarted = true;
    return { traffic: first.traffic ?? '', hasUsers: first.hasUsers };
  }

  tellAll(message: ToWorker): void {
    for (const member of this.#members.values()) if (member.hasBegun) member.tell(message);
  }

  /** To one of them, the first that is there. @returns false when none is */
  tellOne(message: ToWorker): boolean {
    const member = this.#listeningMembers()[0];
    member?.tell(message);
    return member !== undefined;
  }

  /** What each of them answers; of one that does not, nothing. */
  async askAll<Name extends QuestionName>(
    question: Name,
    given: Questions[Name]['with'],
  ): Promise<Array<{ member: Member; answer: Questions[Name]['answer'] }>> {
    const answers = await Promise.all(
      this.#listeningMembers().map(async (member) => {
        const answer = await member.ask(question, given, workerAnswerMs).catch(() => undefined);
        return answer === undefined ? [] : [{ member, answer }];
      }),
    );
    return answers.flat();
  }

  /** The metrics of all; those of one that is busy as it told them last, lest a sum should fall. */
  async metrics(): Promise<Told[]> {
    await Promise.all(this.#listeningMembers().map((member) => this.#hearMetrics(member)));
    return [...this.#lastTold].map(([number, metrics]) => ({ process: String(number), metrics }));
  }

  /** Kept as each answers: two who ask at a time must not leave the older answer behind, nor a dead worker's. */
  async #hearMetrics(member: Member): Promise<void> {
    const metrics = await member.ask('metrics', undefined, workerAnswerMs).catch(() => '');
    const isThere = this.#members.get(member.number) === member;
    if (metrics !== '' && isThere) this.#lastTold.set(member.number, unpacked(metrics));
  }

  /**
   * Puts another configuration in force in all of them or in none. What each needs is opened before any serves with it;
   * one that then cannot go on is ended in order, and starts anew with it.
   * @throws ReloadError
   */
  async reload(loaded: LoadedConfig): Promise<void> {
    requireNoRestart(this.#loaded.config, loaded.config);
    const share = shareOf(loaded);
    const members = this.#listeningMembers();
    const reasons = await Promise.all(members.map((member) => prepare(member, share)));
    if (reasons.flat().length > 0) {
      await Promise.all(
        members.map((member) => member.ask('abandon', undefined, workerAnswerMs).catch(() => null)),
      );
      throw new ReloadError(told(members, reasons));
    }
    this.#loaded = loaded;
    this.#share = share;
    await Promise.all(members.map((member) => this.#commit(member)));
    // One that was starting meanwhile has begun with the one before.
    for (const member of this.#members.values())
      if (member.hasBegun && !members.includes(member)) member.stop();
  }

  /** Ends all of them in order, and by force what is left after that. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const timer of this.#restarts) clearTimeout(timer);
    const members = [...this.#members.values()];
    for (const member of members) member.stop();
    const { delay, grace } = this.#loaded.config.listen.drain;
    const patience = setTimeout(
      () => {
        for (const member of this.#members.values()) member.kill();
      },
      delay + grace + workerEndMs,
    );
    await Promise.all(members.map(({ ended }) => ended));
    clearTimeout(patience);
  }

  #listeningMembers(): Member[] {
    return [...this.#members.values()].filter(({ isListening }) => isListening);
  }

  /** Resolves when it listens. @throws StartError when it ends before that */
  #begin(number: number): Promise<Member> {
    const { promise, resolve, reject } = Promise.withResolvers<Member>();
    const member: Member = new Member(number, () => this.#share, number === leader, {
      message: (message) => {
        if (message.kind === 'changed') void this.#catchUpBut(member, message.id);
        else
          this.#options.onMessage(
            message,
            (reply) => member.tell(reply),
            (all) => this.tellAll(all),
          );
      },
      listening: () => {
        resolve(member);
        this.#signAll();
      },
      ended: () => {
        this.#ended(member);
        reject(new StartError(sentencesOf(member).join('\n')));
      },
    });
    this.#members.set(number, member);
    return promise;
  }

  #ended(member: Member): void {
    const { number, isListening: _, pid, end } = member;
    this.#members.delete(number);
    this.#gone = retire(this.#gone, this.#lastTold.get(number) ?? []);
    this.#lastTold.delete(number);
    // What it has left unsigned, or half written, is seen to at once.
    this.#signAll();
    if (this.#isClosing || (!this.#isStarted && member.traffic === undefined)) return;
    const lived = performance.now() - member.startedMs;
    const failures = lived >= workerSettledMs ? 0 : (this.#failures.get(number) ?? 0);
    this.#failures.set(number, failures + 1);
    const delayMs = Math.min(workerRestartMaxMs, workerRestartMinMs * 2 ** Math.min(failures, 16));
    this.#options.log.error(
      {
        worker: number,
        pid,
        ...end,
        ...(member.sentences && { why: member.sentences }),
        restart_in_ms: delayMs,
      },
      'a worker has ended by itself and is started again',
    );
    this.#options.onDied();
    const timer = setTimeout(() => {
      this.#restarts.delete(timer);
      // Its end before its start is told where every end is.
      this.#begin(number).then(
        () => this.#options.log.info({ worker: number }, 'the worker is back'),
        () => undefined,
      );
    }, delayMs);
    this.#restarts.add(timer);
  }

  /** Has all others look at what is revoked, and tells the one that changed something when they have. */
  async #catchUpBut(member: Member, id: number): Promise<void> {
    const others = [...this.#members.values()].filter((other) => other !== member && other.hasBegun);
    await Promise.all(
      others.map((other) => other.ask('catch_up', undefined, workerAnswerMs).catch(() => null)),
    );
    member.tell({ kind: 'caught_up', id });
  }

  async #commit(member: Member): Promise<void> {
    const reasons = await member.ask('commit', undefined, workerPrepareMs).catch((error: unknown) => {
      return error instanceof NoAnswer && !member.isListening ? [] : [String(error)];
    });
    if (reasons.length === 0) return;
    const { number } = member;
    this.#options.log.error(
      { worker: number, reasons },
      'a worker could not go over to the configuration that all others took: it is ended in order and starts with it',
    );
    member.stop();
  }

  #signAll(): void {
    if (!this.#isClosing) this.tellAll({ kind: 'sign' });
  }
}

function shareOf(loaded: LoadedConfig): string {
  return packed({ ...loaded, config: shareOfOne(loaded.config), warnings: [] });
}

/** @returns what is in the way; of one that has died nothing is, for it starts with whatever is in force then */
async function prepare(member: Member, share: string): Promise<readonly string[]> {
  try {
    return await member.ask('prepare', share, workerPrepareMs);
  } catch (error) {
    return error instanceof NoAnswer && !member.isListening ? [] : [String(error)];
  }
}

/** What all of them say is said once; what only some say, with who says it. */
function told(members: readonly Member[], reasons: ReadonlyArray<readonly string[]>): string[] {
  const all = new Set(reasons.flat());
  return [...all].map((reason) => {
    const who = members.filter((_, index) => reasons[index]?.includes(reason)).map(({ number }) => number);
    return who.length === members.length ? reason : `${reason} (said by worker ${who.join(', ')} alone)`;
  });
}

function sentencesOf({ number, sentences, end }: Member): readonly string[] {
  return sentences ?? [`worker ${number} ended at its start (${end?.signal ?? `code ${end?.code}`})`];
}
