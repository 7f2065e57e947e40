/** The metrics as text, in the format a scraper takes: Prometheus's own, or OpenMetrics, which alone has exemplars. */
import { type Metric, type OpenMetricsContentType, Registry } from 'prom-client';

export interface Exposition {
  readonly text: string;
  readonly contentType: string;
}

/** A metric with its values, as prom-client tells them. */
export type MetricSnapshot = Awaited<ReturnType<Registry['getMetricsAsJSON']>>[number];

export async function plainText(registry: Registry): Promise<Exposition> {
  return { text: await registry.metrics(), contentType: registry.contentType };
}

/**
 * prom-client renders what a registry holds in the one format of that registry, and for OpenMetrics takes `_total` off
 * its counters' names for good. So it gets stand-ins to render, each with the values of the real one.
 */
export async function openMetrics(registry: Registry): Promise<Exposition> {
  const contentType = Registry.OPENMETRICS_CONTENT_TYPE;
  const rendered = new Registry<OpenMetricsContentType>();
  rendered.setContentType(contentType);
  for (const metric of await registry.getMetricsAsJSON()) {
    const isCounter = String(metric.type) === 'counter';
    // Of a counter, only the sample is called `_total`, and prom-client adds that.
    const snapshot = isCounter ? { ...metric, name: metric.name.replace(/_total$/, '') } : metric;
    rendered.registerMetric(standInOf(snapshot));
  }
  return { text: await rendered.metrics(), contentType };
}

/** What prom-client renders as it would the metric that the values are of. */
export function standInOf(snapshot: MetricSnapshot): Metric {
  const standIn = { name: snapshot.name, type: snapshot.type, get: async () => snapshot };
  return standIn as unknown as Metric;
}

/** Whether OpenMetrics is asked for by name, in a version that is made here, and no less than the plain format. */
export function acceptsOpenMetrics(accept = ''): boolean {
  const ranges = accept.slice(0, acceptCharsMax).toLowerCase().split(',').map(mediaRange);
  const quality = (taken: (range: MediaRange) => boolean) =>
    Math.max(0, ...ranges.filter(taken).map((range) => range.quality));
  const wanted = quality(({ type, version }) => {
    return type === 'application/openmetrics-text' && (version === undefined || version === '1.0.0');
  });
  return wanted > 0 && wanted >= quality(({ type }) => type === 'text/plain');
}

const acceptCharsMax = 1_024;

interface MediaRange {
  readonly type: string;
  readonly version: string | undefined;
  readonly quality: number;
}

function mediaRange(text: string): MediaRange {
  const [type = '', ...pairs] = text.split(';').map((part) => part.trim());
  const parameters = new Map(pairs.map((pair) => pair.split('=', 2) as [string, string]));
  const quality = Number(parameters.get('q') ?? 1);
  return { type, version: parameters.get('version'), quality: quality >= 0 && quality <= 1 ? quality : 0 };
}
