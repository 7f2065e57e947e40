/** Tracing by OpenTelemetry: loaded only where it is configured, and never in a request's way. */
import type { Config } from '../config/schema.ts';
import type { Exchange } from '../exchange.ts';
import type { Sampling } from '../http/trace-context.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

interface Surroundings {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly version: string;
  /** Names this process in its spans. */
  readonly replica: string;
  /** From 0 to below 1. */
  random(): number;
}

export interface Tracing {
  readonly samples: Sampling;
  /** Makes the spans of a request that is over. Never throws. @param processMs how long it took */
  requestEnds(exchange: Exchange, processMs: number): void;
  /** Sends what is left, for a bounded time. */
  close(): Promise<void>;
}

/** Undefined without an endpoint: then nothing of OpenTelemetry is loaded, for that takes a third of a second and 45 MB. */
export async function openTracing(
  { endpoint, sample_ratio: ratio, service_name: serviceName, headers }: Config['tracing'],
  { metrics, log, version, replica, random }: Surroundings,
): Promise<Tracing | undefined> {
  if (endpoint === '') return undefined;
  const { SpanExport } = await import('./span-export.ts');
  metrics.prepareTracing();
  const spans = new SpanExport({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    headers,
    serviceName,
    version,
    replica,
    onEnd: (result, count) => metrics.spansEnded(result, count),
    onChange: (error) => {
      if (error === undefined) log.info({ endpoint }, 'the tracing endpoint takes spans');
      else log.warn({ endpoint, err: error }, 'the tracing endpoint does not take spans: they are lost');
    },
  });
  return {
    // A trusted peer's decision is followed, so that a trace is whole or not there.
    samples: (parentSampled) => parentSampled ?? random() < ratio,
    requestEnds: (exchange, processMs) => {
      if (exchange.trace.spans !== undefined) spans.add(exchange, processMs);
    },
    close: () => spans.close(),
  };
}
