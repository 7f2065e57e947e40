/** Every query that is shipped: of the alerts and of the dashboards. */
import { readFileSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';

export interface ShippedQuery {
  /** Where it stands. */
  readonly from: string;
  readonly expr: string;
}

interface Dashboard {
  readonly panels: ReadonlyArray<{
    readonly type: string;
    readonly title: string;
    readonly description?: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number };
    readonly targets?: ReadonlyArray<{ readonly expr: string }>;
  }>;
}

export const dashboardFiles = ['portcullis-operators.json', 'portcullis-security.json'];

export function readDashboard(file: string): Dashboard {
  return JSON.parse(readFileSync(`deploy/grafana/${file}`, 'utf8'));
}

export function shippedQueries(): ShippedQuery[] {
  const rules = parse(readFileSync('deploy/prometheus/alerts.yaml', 'utf8')).groups[0]
    .rules as ReadonlyArray<{
    alert: string;
    expr: string;
  }>;
  return [
    ...rules.map(({ alert, expr }) => ({ from: alert, expr })),
    ...dashboardFiles.flatMap((file) =>
      readDashboard(file).panels.flatMap(({ title, targets = [] }) =>
        targets.map(({ expr }) => ({ from: `${file}: ${title}`, expr: withVariables(expr) })),
      ),
    ),
  ];
}

/** As Grafana would send it. */
function withVariables(expr: string): string {
  return expr
    .replaceAll('$job', '.*')
    .replaceAll('$instance', '.*')
    .replaceAll('$__rate_interval', '1m')
    .replaceAll('$__range', '1h');
}

/** Names of the metrics in a query, and whether all of it can be parsed. */
export function readQuery(expr: string): { readonly metrics: ReadonlySet<string>; readonly whole: boolean } {
  const metrics = new Set<string>();
  let whole = true;
  parser.parse(expr).iterate({
    enter: ({ type, from, to }) => {
      if (type.isError) whole = false;
      if (type.name === 'Identifier' && expr.slice(from, to).includes('_')) metrics.add(expr.slice(from, to));
    },
  });
  return { metrics, whole };
}
