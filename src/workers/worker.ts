/** A worker: a gateway of its own behind the port that all workers share, without what its primary does for it. */
import cluster from 'node:cluster';
import { once } from 'node:events';
import { type RunningGateway, startGateway } from '../assemble.ts';
import { systemClock } from '../clock.ts';
import { CommandError, type Terminal } from '../commands/terminal.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { PreparedConfig } from '../config-in-force.ts';
import { auditCheckpointMs } from '../limits.ts';
import { reasonsOf } from '../reload.ts';
import { collectStartGarbage } from '../start-garbage.ts';
import { openLog } from '../telemetry/log.ts';
import {
  packed,
  type QuestionName,
  type Questions,
  type ToPrimary,
  type ToWorker,
  unpacked,
} from './messages.ts';
import { Others } from './others.ts';
import { OutwardStream } from './outward.ts';
import { OwnedBuckets, OwnedLockout, type Send, SharedFailures } from './owned-buckets.ts';
import type { Seat } from './seat.ts';

export interface RunningWorker {
  readonly gateway: RunningGateway;
  /** Resolves when the primary wants it to end; in order, by the caller. */
  readonly stopped: Promise<void>;
}

/** @throws what keeps a gateway from starting; CommandError for one that no primary has started */
export async function startWorker(terminal: Terminal): Promise<RunningWorker> {
  const { worker } = cluster;
  if (worker === undefined)
    throw new CommandError('workers are started by: portcullis start, with workers: in gateway.yaml');
  const send: Send = (message) => {
    if (worker.isConnected()) worker.send(message, () => undefined);
  };
  const first = once(worker, 'message');
  send({ kind: 'ready' });
  const begun: ToWorker = (await first)[0];
  if (begun.kind !== 'begin') throw new CommandError('this worker was not told what to run');
  const loaded = unpacked<LoadedConfig>(begun.loaded);
  const others = new Others(send);
  const ours = {
    buckets: new OwnedBuckets(send),
    failures: new SharedFailures(send, systemClock),
    lockout: new OwnedLockout(send, systemClock),
    catchUpOthers: () => others.catchUp(),
    leads: begun.leads,
  } satisfies Seat;
  const stdout = new OutwardStream(send);
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  let gateway: RunningGateway | undefined;
  let isRotatedAway = false;
  const answers = new Answers(send, () => gateway);
  worker.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'taken':
        return ours.buckets.taken(message.batch, message.answers);
      case 'failures':
        return ours.failures.counted(message.bucketClass, message.partition, message.debtTicks);
      case 'exhausted':
        return ours.lockout.exhausted(message.id, message.isEmpty);
      case 'written':
        return stdout.written(message.id, message.error);
      case 'caught_up':
        return others.caughtUp(message.id);
      case 'ask':
        return void answers.give(message.id, message.question, message.with);
      case 'sign':
        return void (gateway && signOnDisk(gateway.auditLog));
      case 'reopen':
        isRotatedAway = gateway === undefined;
        return gateway?.reopenLogs();
      case 'refused':
        return gateway?.refused(message.reasons);
      case 'stop':
        return stop();
      default:
    }
  });
  const log = openLog(loaded.config.log.level).child({ worker: begun.number });
  // node:cluster ends this process right after, and what is buffered would be lost.
  worker.on('disconnect', () => gateway?.fail(new Error('the primary is gone')));
  gateway = await startGateway(loaded, {
    clock: systemClock,
    log,
    version: terminal.version,
    nodeVersion: terminal.nodeVersion,
    replica: `${terminal.hostname}/${terminal.pid}`,
    stdout,
    seat: ours,
    beforeListening: collectStartGarbage,
  });
  const { identity, auditLog, trafficUrl } = gateway;
  if (isRotatedAway) gateway.reopenLogs();
  // It has to notice what the others write, to vouch for it and to know how large the file is.
  if (begun.leads) setInterval(() => void auditLog.signNow(), auditCheckpointMs).unref();
  // One that is killed in its first moments has signed for its beginning.
  await signOnDisk(auditLog);
  const hasUsers = !loaded.config.endpoints.identity || !(await identity.isEmpty());
  send({ kind: 'listening', traffic: trafficUrl, hasUsers });
  return { gateway, stopped };
}

async function signOnDisk(auditLog: RunningGateway['auditLog']): Promise<void> {
  await auditLog.signNow();
  await auditLog.flush();
}

/** Tells the primary why this worker cannot start, or a person where there is none; resolves when it has been told. */
export function tellCannotStart(
  sentences: readonly string[],
  complain: (line: string) => void,
): Promise<void> {
  const message: ToPrimary = { kind: 'cannot_start', sentences };
  const { worker } = cluster;
  return new Promise((resolve) => {
    if (worker?.isConnected()) worker.send(message, () => resolve());
    else resolve(sentences.forEach(complain));
  });
}

/** What one that has yet to open its gateway answers. */
const nothing: { readonly [Name in QuestionName]: Questions[Name]['answer'] } = {
  metrics: '',
  jwks: [],
  prepare: [],
  commit: [],
  abandon: null,
  catch_up: null,
};

/** What the primary asks. */
class Answers {
  readonly #send: Send;
  readonly #gateway: () => RunningGateway | undefined;
  #prepared: PreparedConfig | undefined;

  constructor(send: Send, gateway: () => RunningGateway | undefined) {
    this.#send = send;
    this.#gateway = gateway;
  }

  async give(id: number, question: QuestionName, given: unknown): Promise<void> {
    this.#send({ kind: 'answer', id, answer: await this.#answer(question, given) });
  }

  async #answer(question: QuestionName, given: unknown): Promise<unknown> {
    const gateway = this.#gateway();
    if (gateway === undefined) return nothing[question];
    switch (question) {
      case 'metrics':
        return packed(await gateway.metrics.registry.getMetricsAsJSON());
      case 'jwks':
        return gateway.identity.jwks();
      case 'prepare':
        return this.#prepare(gateway, String(given));
      case 'commit':
        return this.#commit();
      case 'abandon':
        await this.#abandon();
        return null;
      case 'catch_up':
        await gateway.identity.revocations?.catchUp();
        return null;
    }
  }

  async #prepare(gateway: RunningGateway, loaded: string): Promise<readonly string[]> {
    await this.#abandon();
    try {
      this.#prepared = await gateway.prepare(unpacked(loaded));
      return [];
    } catch (error) {
      return reasonsOf(error);
    }
  }

  async #commit(): Promise<readonly string[]> {
    try {
      if (this.#prepared === undefined) return ['nothing was prepared'];
      this.#prepared.commit();
      this.#prepared = undefined;
      return [];
    } catch (error) {
      await this.#abandon();
      return reasonsOf(error);
    }
  }

  async #abandon(): Promise<void> {
    const prepared = this.#prepared;
    this.#prepared = undefined;
    await prepared?.abandon();
  }
}
