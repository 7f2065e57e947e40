/** The one place where a request is written down: its audit records and its metrics. */
import type { Logger } from 'pino';
import type { Clock } from '../clock.ts';
import { errorKinds, Refusal } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { AuditBufferError, type FileSink } from './file-sink.ts';
import { type AuditRecord, type RecordContext, recordOf, serialize } from './record.ts';

export interface RecorderOptions {
  readonly sink: FileSink;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Logger;
  readonly context: RecordContext;
}

/** Seconds after which a disk that refused may take records again. */
const auditRetrySeconds = 5;

export class Recorder {
  readonly #options: RecorderOptions;
  #seq = 0;

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
    const { sink } = this.#options;
    if (exchange.route?.durable === true) {
      await this.#writeDurably(recordOf(exchange, 'attempt', this.#elapsedMs(exchange)));
    } else if (!sink.up) {
      throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds });
    }
  }

  /** The request is over, one way or another. Never throws. */
  complete(exchange: Exchange): void {
    const { metrics, log } = this.#options;
    const { outcome, response } = exchange;
    if (!response.writableFinished && outcome.code === undefined) {
      outcome.code = 'client_closed';
      outcome.status = errorKinds.client_closed.status;
    }
    const processMs = this.#elapsedMs(exchange);
    this.#write(recordOf(exchange, 'complete', processMs));
    metrics.requestEnds(exchange, processMs);
    if (outcome.cause !== undefined && outcome.status >= 500) {
      log.error({ err: outcome.cause, request_id: exchange.requestId, code: outcome.code }, 'request failed');
    }
  }

  /** What the parser refused before it was a request. */
  refusedByParser(record: AuditRecord): void {
    this.#write(record);
    this.#options.metrics.refusedByParser(record.status_code ?? 0);
  }

  /** A change made without HTTP, on the command line; on disk when this resolves. */
  async recordChange(record: AuditRecord): Promise<void> {
    await this.#writeDurably(record);
  }

  /** Writes what is buffered. */
  async flush(): Promise<void> {
    await this.#options.sink.flush();
  }

  async close(): Promise<void> {
    await this.#options.sink.close();
  }

  #elapsedMs(exchange: Exchange): number {
    return this.#options.clock.monotonicMs() - exchange.startedMs;
  }

  #write(record: AuditRecord): void {
    const { sink, metrics } = this.#options;
    metrics.auditRecord(sink.name, sink.append(this.#line(record)));
  }

  async #writeDurably(record: AuditRecord): Promise<void> {
    const { sink, metrics } = this.#options;
    try {
      await sink.appendDurable(this.#line(record));
      metrics.auditRecord(sink.name, true);
    } catch (cause) {
      // What the disk refused is still in the buffer and will be written; what the buffer refused is lost.
      metrics.auditRecord(sink.name, !(cause instanceof AuditBufferError));
      throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds, cause });
    }
  }

  #line(record: AuditRecord): string {
    this.#seq += 1;
    return serialize(record, this.#options.context, this.#seq);
  }
}
