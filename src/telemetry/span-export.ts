/** Spans on their way out, by OpenTelemetry's SDK. This file loads it: it is imported only where tracing is configured. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Context,
  context,
  diag,
  logs,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { NodeSDK } from '@opentelemetry/sdk-node';
import {
  BatchSpanProcessor,
  type IdGenerator,
  type ReadableSpan,
  SamplingDecision,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace';
import type { Exchange } from '../exchange.ts';
import {
  spanBatchMax,
  spanExportDelayMs,
  spanExportTimeoutMs,
  spanFlushMs,
  spansWaitingMax,
} from '../limits.ts';
import type { SpanResult } from './span-results.ts';
import { type SpanData, spansOf } from './spans.ts';

export interface SpanExportOptions {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly serviceName: string;
  readonly version: string;
  readonly replica: string;
  onEnd(result: SpanResult, count: number): void;
  /** The receiver takes spans, or does not any more. @param error why not; without what the receiver has answered */
  onChange(error: Error | undefined): void;
}

/** The ids were chosen when the request came, for the upstream was told of one of them. */
class PresetIds implements IdGenerator {
  traceId = '';
  spanId = '';

  generateTraceId(): string {
    return this.traceId;
  }

  generateSpanId(): string {
    return this.spanId;
  }
}

/** `ExportResultCode.SUCCESS` of the SDK's core. */
const exportSucceeded = 0;

function contextOf(traceId: string, parent: SpanData['parent']): Context {
  if (parent === undefined) return ROOT_CONTEXT;
  const { spanId, isRemote } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    isRemote,
    traceFlags: TraceFlags.SAMPLED,
  });
}

/** Seconds and nanoseconds: a bare number could be read as the monotonic clock's. */
function hrTime(ms: number): [seconds: number, nanoseconds: number] {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.floor((ms - seconds * 1000) * 1e6)];
}

export class SpanExport {
  readonly #options: SpanExportOptions;
  readonly #ids = new PresetIds();
  readonly #sdk: NodeSDK;
  readonly #tracer: Tracer;
  /** Spans handed over and not ended yet, those on their way included. */
  #waiting = 0;
  #takesSpans = true;

  constructor(options: SpanExportOptions) {
    const { url, headers, serviceName, version, replica } = options;
    this.#options = options;
    const exporter = new OTLPTraceExporter({
      url,
      headers,
      timeoutMillis: spanExportTimeoutMs,
      // At shutdown every batch of a full queue is sent at once.
      concurrencyLimit: spansWaitingMax / spanBatchMax + 1,
    });
    const batches = new BatchSpanProcessor({
      exporter: this.#counted(exporter),
      maxQueueSize: spansWaitingMax,
      maxExportBatchSize: spanBatchMax,
      scheduledDelayMillis: spanExportDelayMs,
      // Later than the exporter's own, so that only one of the two ends an export.
      exportTimeoutMillis: 2 * spanExportTimeoutMs,
    });
    this.#sdk = new NodeSDK({
      serviceName,
      // Not the SDK's own: they tell the machine's name, the command line and the user.
      resourceDetectors: [
        { detect: () => ({ attributes: { 'service.version': version, 'service.instance.id': replica } }) },
      ],
      sampler: { shouldSample: () => ({ decision: SamplingDecision.RECORD_AND_SAMPLED }) },
      idGenerator: this.#ids,
      spanProcessors: [this.#bounded(batches)],
      textMapPropagator: null,
      instrumentations: [],
      // Metrics and logs have their own ways out.
      metricReaders: [],
      logRecordProcessors: [],
    });
    // What OTEL_LOG_LEVEL asks for would go to standard output, which is the audit's.
    diag.disable();
    this.#sdk.start();
    this.#tracer = trace.getTracer('portcullis', version);
    // Nobody else in this process traces; what is global would outlive this gateway and be the next one's.
    for (const api of [trace, context, propagation, logs]) api.disable();
  }

  /** @param processMs how long it took */
  add(exchange: Exchange, processMs: number): void {
    for (const span of spansOf(exchange, processMs)) this.#add(exchange.trace.traceId, span);
  }

  #add(traceId: string, { kind, name, spanId, parent, startMs, endMs, attributes, failed }: SpanData): void {
    this.#ids.traceId = traceId;
    this.#ids.spanId = spanId;
    const options = {
      kind: kind === 'server' ? SpanKind.SERVER : SpanKind.CLIENT,
      startTime: hrTime(startMs),
      attributes,
    };
    const span = this.#tracer.startSpan(name, options, contextOf(traceId, parent));
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(hrTime(endMs));
  }

  /** Sends what waits, within `spanFlushMs`; what is left then is lost, and counted. */
  async close(): Promise<void> {
    const flushed = this.#sdk.shutdown().catch(() => undefined);
    await Promise.race([flushed, delay(spanFlushMs, undefined, { ref: true })]);
    if (this.#waiting > 0) this.#options.onEnd('shutdown', this.#waiting);
  }

  /** The SDK drops what does not fit without telling anyone. */
  #bounded(batches: SpanProcessor): SpanProcessor {
    return {
      onStart: (span, parent) => batches.onStart(span, parent),
      onEnd: (span) => {
        if (this.#waiting >= spansWaitingMax) {
          this.#options.onEnd('queue_full', 1);
          return;
        }
        this.#waiting += 1;
        batches.onEnd(span);
      },
      forceFlush: () => batches.forceFlush(),
      shutdown: () => batches.shutdown(),
    };
  }

  #counted(exporter: SpanExporter): SpanExporter {
    return {
      export: (spans: ReadableSpan[], done) => {
        exporter.export(spans, (result) => {
          this.#ended(
            spans.length,
            result.code === exportSucceeded ? undefined : (result.error ?? new Error()),
          );
          done(result);
        });
      },
      shutdown: () => exporter.shutdown(),
    };
  }

  #ended(count: number, error: Error | undefined): void {
    this.#waiting -= count;
    this.#options.onEnd(error === undefined ? 'exported' : 'export_failed', count);
    const takesSpans = error === undefined;
    if (takesSpans !== this.#takesSpans) this.#options.onChange(error);
    this.#takesSpans = takesSpans;
  }
}
