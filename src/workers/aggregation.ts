/**
 * One exposition from those of all workers. What counts is summed, and what a worker had counted stays in the sum after
 * its end, so that no counter ever falls. Of a state the worst is told. What is about a process is told of each.
 */
import { Registry } from 'prom-client';
import {
  acceptsOpenMetrics,
  type Exposition,
  type MetricSnapshot,
  openMetrics,
  plainText,
  standInOf,
} from '../telemetry/exposition.ts';

/** `each`: one series a process, told apart by the label `worker`. `ours`: the primary's own, and no worker's. */
type Rule = 'sum' | 'min' | 'max' | 'each' | 'ours';

/** Gauges by what they mean; whether something is up is the least of the answers, how long ago something was the most. */
export const gaugeRules: Readonly<Record<string, Rule>> = {
  portcullis_http_requests_in_flight: 'sum',
  portcullis_websockets_open: 'sum',
  portcullis_connections: 'sum',
  portcullis_rate_limit_store_up: 'min',
  portcullis_audit_sink_up: 'min',
  portcullis_upstream_up: 'min',
  portcullis_upstream_ejected: 'max',
  portcullis_config_last_reload_successful: 'ours',
  portcullis_config_last_reload_success_timestamp_seconds: 'ours',
  portcullis_token_keys_last_reload_successful: 'min',
  portcullis_tls_certificate_expiry_timestamp_seconds: 'min',
  portcullis_tls_certificate_last_reload_successful: 'min',
  portcullis_issuer_keys: 'min',
  portcullis_issuer_keys_last_success_timestamp_seconds: 'min',
  portcullis_revocation_staleness_seconds: 'max',
  portcullis_build_info: 'max',
};

/** What one process has told. */
export interface Told {
  /** The value of the label `worker`. */
  readonly process: string;
  readonly metrics: readonly MetricSnapshot[];
}

type Series = MetricSnapshot['values'][number] & {
  readonly metricName?: string;
  readonly exemplar?: { readonly timestamp: number } | null;
};

function ruleOf({ name, type }: MetricSnapshot): Rule {
  if (name === 'nodejs_version_info') return 'max';
  if (/^(?:process|nodejs)_/.test(name)) return 'each';
  return String(type) === 'gauge' ? (gaugeRules[name] ?? 'max') : 'sum';
}

/** @param gone what workers that have ended had counted; @param own the primary's */
export function aggregate(
  told: readonly Told[],
  gone: readonly MetricSnapshot[],
  own: readonly MetricSnapshot[],
): MetricSnapshot[] {
  const merged = new Merged();
  for (const metric of gone) merged.add(metric, 'sum');
  for (const { process, metrics } of told) {
    for (const metric of metrics) {
      const rule = ruleOf(metric);
      if (rule === 'each') merged.add(labelled(metric, process), 'sum');
      else if (rule !== 'ours') merged.add(metric, rule);
    }
  }
  for (const metric of own)
    merged.add(ruleOf(metric) === 'each' ? labelled(metric, 'primary') : metric, 'max');
  return merged.metrics();
}

/** What a worker that has ended had counted, added to what others before it had. */
export function retire(gone: readonly MetricSnapshot[], last: readonly MetricSnapshot[]): MetricSnapshot[] {
  const merged = new Merged();
  const counted = last.filter((metric) => ruleOf(metric) === 'sum' && String(metric.type) !== 'gauge');
  for (const metric of [...gone, ...counted]) merged.add(metric, 'sum');
  return merged.metrics();
}

/** @param hasExemplars whether OpenMetrics has more to say than the plain format */
export function expose(
  metrics: readonly MetricSnapshot[],
  accept: string | undefined,
  hasExemplars: boolean,
): Promise<Exposition> {
  const registry = new Registry();
  for (const metric of metrics) registry.registerMetric(standInOf(metric));
  return hasExemplars && acceptsOpenMetrics(accept) ? openMetrics(registry) : plainText(registry);
}

function labelled(metric: MetricSnapshot, worker: string): MetricSnapshot {
  const values = metric.values.map((value) => ({ ...value, labels: { ...value.labels, worker } }));
  return { ...metric, values } as MetricSnapshot;
}

const combinations: Readonly<Record<Exclude<Rule, 'each' | 'ours'>, (a: number, b: number) => number>> = {
  sum: (a, b) => a + b,
  min: Math.min,
  max: Math.max,
};

class Merged {
  /** By name, then by series. */
  readonly #metrics = new Map<
    string,
    { readonly metric: MetricSnapshot; readonly series: Map<string, Series> }
  >();

  add(metric: MetricSnapshot, rule: keyof typeof combinations): void {
    const entry = this.#metrics.get(metric.name) ?? { metric, series: new Map<string, Series>() };
    this.#metrics.set(metric.name, entry);
    for (const value of metric.values as Series[]) {
      const key = keyOf(value);
      const other = entry.series.get(key);
      entry.series.set(key, other === undefined ? value : combined(other, value, combinations[rule]));
    }
  }

  metrics(): MetricSnapshot[] {
    return [...this.#metrics.values()].map(
      ({ metric, series }) => ({ ...metric, values: [...series.values()] }) as MetricSnapshot,
    );
  }
}

function keyOf({ metricName = '', labels }: Series): string {
  const sorted = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([metricName, sorted]);
}

/** Of two exemplars the newer one. */
function combined(a: Series, b: Series, combine: (a: number, b: number) => number): Series {
  const isNewer = (b.exemplar?.timestamp ?? 0) > (a.exemplar?.timestamp ?? 0);
  return { ...(isNewer ? b : a), value: combine(a.value, b.value) };
}
