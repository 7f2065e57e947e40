/** The one place where a request is written down: its audit records and its metrics. */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { errorKinds, Refusal } from '../errors.ts';
import type { Exchange, Route } from '../exchange.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { type AuditLog, auditRetrySeconds } from './log.ts';
import {
  type AuditEvent,
  type AuditRecord,
  bareRecord,
  eventRecord,
  incidentRecord,
  recordOf,
} from './record.ts';

export interface RecorderOptions {
  readonly audit: AuditLog;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** The program's own log, for the cause of a 5xx. */
  readonly log: Logger;
  /** Undefined where nothing is traced. */
  readonly tracing?: Tracing | undefined;
  /** What becomes of a read while the log cannot be written. */
  readonly unrecordedReads: 'refuse' | 'allow';
}

/** Health, docs and keys are the same for everyone: that somebody read them may go unrecorded. */
function tellsNothing(route: Route | undefined): boolean {
  return route?.destination.kind === 'local' && route.permission === 'none';
}

/** Of a request whose own record could not be made, or not be made whole: an id of its own tells the two apart. */
function faultRecord({ startedAt, requestId, clientAddress, request }: Exchange): AuditRecord {
  return {
    ...bareRecord(startedAt, randomUUID(), clientAddress),
    request_id: requestId,
    method: request.method ?? '',
    status_code: errorKinds.internal_error.status,
    decision: 'error',
    code: 'internal_error',
  };
}

/** So many are kept until a moment later; each with its request and response. */
const overMax = 64;

/** A request that is over, and how long it took. */
interface Over {
  readonly exchange: Exchange;
  readonly processMs: number;
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #over: Over[] = [];
  #soon: NodeJS.Immediate | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** A request has come in. */
  begin(): void {
    this.#options.metrics.requestBegins();
  }

  /**
   * To be awaited at once, since it may throw before there is a promise. Asked before anything is done: a durable
   * route's attempt is on disk when this resolves, and while the log cannot be written nothing else passes either,
   * since it could leave no trace; unless the configuration would rather lose the trace, which is counted.
   * @throws `audit_unavailable`
   */
  attempt(exchange: Exchange): void | Promise<void> {
    const { audit, metrics, unrecordedReads } = this.#options;
    const { route } = exchange;
    if (route?.durable === true)
      return audit.appendDurable(recordOf(exchange, 'attempt', this.#elapsedMs(exchange)));
    if (!audit.up && !tellsNothing(route)) {
      if (unrecordedReads === 'refuse')
        throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds });
      metrics.auditUnrecorded();
    }
  }

  /**
   * The request is over, one way or another. It is written down a moment later, along with others: what answers those
   * who still wait comes first. Never throws.
   */
  complete(exchange: Exchange): void {
    this.#over.push({ exchange, processMs: this.#elapsedMs(exchange) });
    if (this.#over.length >= overMax) this.writeDown();
    else this.#soon ??= setImmediate(() => this.writeDown());
  }

  /** Writes down what is over. */
  writeDown(): void {
    clearImmediate(this.#soon);
    this.#soon = undefined;
    // One by one: should telling of a fault fail as well, the rest is still there for who ends the process.
    for (let next = this.#over.shift(); next !== undefined; next = this.#over.shift()) {
      try {
        this.#writeDown(next.exchange, next.processMs);
      } catch (error) {
        this.fault(faultRecord(next.exchange), error);
      }
    }
  }

  #writeDown(exchange: Exchange, processMs: number): void {
    const { audit, metrics, log, tracing } = this.#options;
    const { outcome, response } = exchange;
    if (!response.writableFinished && outcome.code === undefined) {
      outcome.code = 'client_closed';
      outcome.status = errorKinds.client_closed.status;
      outcome.decision = 'error';
    }
    metrics.requestEnds(exchange, processMs);
    audit.append(recordOf(exchange, 'complete', processMs));
    tracing?.requestEnds(exchange, processMs);
    this.#tellIncident(exchange);
    // A log that cannot be written was told of once, when it stopped taking records.
    if (outcome.cause !== undefined && outcome.status >= 500 && outcome.code !== 'audit_unavailable') {
      const { requestId: request_id, route, request } = exchange;
      const where = { request_id, code: outcome.code, method: request.method, route: route?.template };
      log.error({ err: outcome.cause, ...where }, 'request failed');
    }
  }

  /** The audit record with the same request id says who, from where and when. */
  #tellIncident(exchange: Exchange): void {
    const { outcome, requestId, identifiedSubject, credentialId, clientAddress } = exchange;
    const { incident } = outcome;
    if (incident === undefined) return;
    const { audit, metrics, clock } = this.#options;
    audit.append(incidentRecord(clock.wallMs(), randomUUID(), incident, exchange));
    metrics.incident(incident);
    const who = { subject: identifiedSubject, credential_id: credentialId, client_ip: clientAddress };
    this.#options.log.warn({ incident, request_id: requestId, ...who }, 'incident');
  }

  /**
   * An upgraded connection begins; it is complete when it ends. What passes through it leaves no other trace, so this
   * one is on disk when it resolves.
   * @throws `audit_unavailable`
   */
  async opened(exchange: Exchange): Promise<void> {
    await this.#options.audit.appendDurable(recordOf(exchange, 'open', this.#elapsedMs(exchange)));
  }

  /** What is no request. @param detail what the event's own description in `auditEvents` says */
  event(event: AuditEvent, detail?: string): void {
    const { audit, clock } = this.#options;
    this.writeDown();
    audit.append(eventRecord(clock.wallMs(), randomUUID(), event, detail));
  }

  /** Another configuration is in force: all records from here on carry its digest. */
  reloaded(configDigest: string): void {
    // What is over by now was under the one before.
    this.writeDown();
    this.event('reload_accepted', this.#options.audit.configured(configDigest));
  }

  /** What the parser refused before it was a request. */
  refusedByParser(record: AuditRecord): void {
    this.#options.audit.append(record);
    this.#options.metrics.refusedByParser(record.status_code ?? 0);
  }

  /** An error that fell out of its request's phases. @throws what the log throws: then nothing can be told any more */
  fault(record: AuditRecord, error: unknown): void {
    this.refusedByParser(record);
    this.#options.log.error({ err: error, request_id: record.request_id }, 'a fault outside of the phases');
  }

  #elapsedMs(exchange: Exchange): number {
    return this.#options.clock.monotonicMs() - exchange.startedMs;
  }
}
