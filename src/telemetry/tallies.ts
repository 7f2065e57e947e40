/**
 * Metrics of which every request moves several, kept in plain numbers and told when they are read: prom-client's own
 * hash their labels at each observation, which took more of a request's time than its rate limit.
 */
import { Counter, type Metric, type Registry } from 'prom-client';

class Count {
  value = 0;
  readonly under = new Map<string, Count>();
}

/** A counter whose labels are given in order, all of them each time. */
export class Tally<const Names extends readonly string[]> {
  readonly #labelNames: Names;
  readonly #all = new Count();

  constructor(registry: Registry, name: string, help: string, labelNames: Names) {
    this.#labelNames = labelNames;
    const tell = (count: (labels: Record<string, string>, value: number) => void) => this.#tell(count);
    new Counter<string>({
      name,
      help,
      labelNames: [...labelNames],
      registers: [registry],
      collect() {
        this.reset();
        tell((labels, value) => this.inc(labels, value));
      },
    });
  }

  /** @param by 0 makes the series, so that it is there before the first event */
  count(labels: { readonly [Index in keyof Names]: string }, by = 1): void {
    let at = this.#all;
    for (const label of labels) {
      let next = at.under.get(label);
      if (next === undefined) {
        next = new Count();
        at.under.set(label, next);
      }
      at = next;
    }
    at.value += by;
  }

  #tell(
    count: (labels: Record<string, string>, value: number) => void,
    at = this.#all,
    given: string[] = [],
  ) {
    if (given.length === this.#labelNames.length) {
      const labels = this.#labelNames.map((name, index) => [name, given[index] ?? '']);
      count(Object.fromEntries(labels), at.value);
      return;
    }
    for (const [label, next] of at.under) this.#tell(count, next, [...given, label]);
  }
}

/** Where a request of such a value can be looked at. */
export interface Exemplar {
  readonly labels: Readonly<Record<string, string>>;
  /** Unix seconds. */
  readonly timestamp: number;
}

interface Shown {
  readonly labelSet: Readonly<Record<string, string>>;
  readonly value: number;
  readonly timestamp: number;
}

class Series {
  /** Of each bound, values above the one before it; the last is above all of them. */
  readonly counts: number[];
  /** By bucket, the last one. */
  readonly exemplars: Array<Shown | undefined>;
  sum = 0;

  constructor(buckets: number) {
    this.counts = new Array<number>(buckets).fill(0);
    this.exemplars = new Array<Shown | undefined>(buckets).fill(undefined);
  }
}

export interface DistributionOptions {
  readonly name: string;
  readonly help: string;
  /** Upper bounds in ascending order; `+Inf` is added. */
  readonly bounds: readonly number[];
  readonly label?: string;
}

/** A histogram by one label or none. */
export class Distribution {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #bounds: readonly number[];
  readonly #label: string | undefined;
  readonly #series = new Map<string, Series>();

  constructor(registry: Registry, { name, help, bounds, label }: DistributionOptions) {
    this.name = name;
    this.help = help;
    this.#bounds = bounds;
    this.#label = label;
    if (label === undefined) this.#of('');
    registry.registerMetric(this as unknown as Metric);
  }

  /** @param label the empty text where there is no label */
  observe(label: string, value: number, exemplar?: Exemplar): void {
    const series = this.#of(label);
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] ?? 0)) bucket += 1;
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1;
    series.sum += value;
    if (exemplar !== undefined)
      series.exemplars[bucket] = { labelSet: exemplar.labels, value, timestamp: exemplar.timestamp };
  }

  #of(label: string): Series {
    let series = this.#series.get(label);
    if (series === undefined) {
      series = new Series(this.#bounds.length + 1);
      this.#series.set(label, series);
    }
    return series;
  }

  /** As prom-client's registry asks for it. */
  async get(): Promise<object> {
    const values = [...this.#series].flatMap(([label, series]) => this.#valuesOf(label, series));
    return { name: this.name, help: this.help, type: this.type, values, aggregator: this.aggregator };
  }

  #valuesOf(label: string, { counts, exemplars, sum }: Series): object[] {
    const labels = this.#label === undefined ? {} : { [this.#label]: label };
    let total = 0;
    const buckets = counts.map((count, bucket) => {
      total += count;
      const le = this.#bounds[bucket] ?? '+Inf';
      const exemplar = exemplars[bucket] ?? null;
      return { labels: { le, ...labels }, value: total, metricName: `${this.name}_bucket`, exemplar };
    });
    return [
      ...buckets,
      { labels, value: sum, metricName: `${this.name}_sum` },
      { labels, value: total, metricName: `${this.name}_count` },
    ];
  }
}
