/** The one place where a request is written down: its audit records and its metrics. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { errorKinds, Refusal } from '../errors.ts';
import type { Exchange, Route } from '../exchange.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Tracing } from '../telemetry/tracing.ts';
import { type AuditLog, auditRetrySeconds } from './log.ts';
import { type AuditRecord, recordOf } from './record.ts';

export interface RecorderOptions {
  readonly audit: AuditLog;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** The program's own log, for the cause of a 5xx. */
  readonly log: Logger;
  /** Undefined where nothing is traced. */
  readonly tracing?: Tracing | undefined;
}

/** Health, docs and keys are the same for everyone: that somebody read them may go unrecorded. */
function tellsNothing(route: Route | undefined): boolean {
  return route?.destination.kind === 'local' && route.permission === 'none';
}

export class Recorder {
  readonly #options: RecorderOptions;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** A request has come in. */
  begin(): void {
    this.#options.metrics.requestBegins();
  }

  /**
   * Asked before anything is done: a durable route's attempt is on disk when this resolves, and while the log
   * cannot be written nothing else passes either, since it would leave no trace.
   * @throws `audit_unavailable`
   */
  async attempt(exchange: Exchange): Promise<void> {
    const { audit } = this.#options;
    const { route } = exchange;
    if (route?.durable === true) {
      await audit.appendDurable(recordOf(exchange, 'attempt', this.#elapsedMs(exchange)));
    } else if (!audit.up && !tellsNothing(route)) {
      throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds });
    }
  }

  /** The request is over, one way or another. Never throws. */
  complete(exchange: Exchange): void {
    const { audit, metrics, log, tracing } = this.#options;
    const { outcome, response } = exchange;
    if (!response.writableFinished && outcome.code === undefined) {
      outcome.code = 'client_closed';
      outcome.status = errorKinds.client_closed.status;
      outcome.decision = 'error';
    }
    const processMs = this.#elapsedMs(exchange);
    audit.append(recordOf(exchange, 'complete', processMs));
    metrics.requestEnds(exchange, processMs);
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
  #tellIncident({ outcome, requestId, identifiedSubject, credentialId, clientAddress }: Exchange): void {
    const { incident } = outcome;
    if (incident === undefined) return;
    this.#options.metrics.incident(incident);
    const who = { subject: identifiedSubject, credential_id: credentialId, client_ip: clientAddress };
    this.#options.log.warn({ incident, request_id: requestId, ...who }, 'incident');
  }

  /** What the parser refused before it was a request. */
  refusedByParser(record: AuditRecord): void {
    this.#options.audit.append(record);
    this.#options.metrics.refusedByParser(record.status_code ?? 0);
  }

  #elapsedMs(exchange: Exchange): number {
    return this.#options.clock.monotonicMs() - exchange.startedMs;
  }
}
