/**
 * Makes the two dashboards beside it, and the manifests that carry rules and dashboards into a cluster, from one
 * description: `node deploy/grafana/generate.ts`. A test says when they are not up to date.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

interface Query {
  readonly expr: string;
  /** What stands in the legend; `{{label}}` is its value. */
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  /** One sentence: what to look for. */
  readonly description: string;
  /** Grafana's id of a unit: `reqps`, `s`, `percentunit`, `bytes`, `short`. */
  readonly unit: string;
  readonly kind?: 'timeseries' | 'stat' | 'table';
  readonly queries: readonly Query[];
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: ReadonlyArray<{ readonly title: string; readonly panels: readonly Panel[] }>;
}

/** Which gateways are looked at; the variables stand above each dashboard. */
const those = 'job=~"$job",instance=~"$instance"';
const window = '$__rate_interval';

function rate(metric: string, by: string, labels = ''): string {
  const selector = labels === '' ? those : `${those},${labels}`;
  return `sum by (${by}) (rate(portcullis_${metric}{${selector}}[${window}]))`;
}

function quantile(q: number, metric: string, by = ''): string {
  const labels = by === '' ? 'le' : `le, ${by}`;
  return `histogram_quantile(${q}, ${rate(`${metric}_bucket`, labels)})`;
}

function panel(
  title: string,
  unit: string,
  description: string,
  queries: ReadonlyArray<readonly [expr: string, legend: string]>,
  kind: Panel['kind'] = 'timeseries',
): Panel {
  return { title, unit, description, kind, queries: queries.map(([expr, legend]) => ({ expr, legend })) };
}

const requests = `sum(rate(portcullis_http_requests_total{${those}}[${window}]))`;
const failures = `sum(rate(portcullis_http_requests_total{${those},status=~"5.."}[${window}]))`;

const operators: Dashboard = {
  uid: 'portcullis-operators',
  title: 'Portcullis: operators',
  description: 'Traffic, errors, latency and saturation of the gateways, and of what they depend on.',
  rows: [
    {
      title: 'At a glance',
      panels: [
        panel(
          'Requests',
          'reqps',
          'All requests, answered by the upstream or by the gateway.',
          [[requests, '']],
          'stat',
        ),
        panel(
          '5xx',
          'percentunit',
          'Share of requests that end in a 5xx.',
          [[`(${failures} or vector(0)) / ${requests}`, '']],
          'stat',
        ),
        panel(
          'Gateways',
          'short',
          'Gateways that are scraped.',
          [[`count(portcullis_build_info{${those}})`, '']],
          'stat',
        ),
        panel(
          'In flight',
          'short',
          'Requests under way.',
          [[`sum(portcullis_http_requests_in_flight{${those}})`, '']],
          'stat',
        ),
      ],
    },
    {
      title: 'Traffic and errors',
      panels: [
        panel('Requests by route', 'reqps', 'Templates of routes, never paths.', [
          [rate('http_requests_total', 'route'), '{{route}}'],
        ]),
        panel(
          'Requests by status',
          'reqps',
          'A step from 2xx to 4xx is a client, one to 5xx is us or the upstream.',
          [[rate('http_requests_total', 'status'), '{{status}}']],
        ),
        panel('Upstreams', 'short', '1 is reachable, 0 is not.', [
          [`portcullis_upstream_up{${those}}`, '{{upstream}} {{instance}}'],
        ]),
      ],
    },
    {
      title: 'Latency',
      panels: [
        panel('Whole request', 's', 'From head to last byte.', [
          [quantile(0.5, 'http_request_duration_seconds'), 'p50'],
          [quantile(0.99, 'http_request_duration_seconds'), 'p99'],
        ]),
        panel('Upstream', 's', 'What the service itself takes.', [
          [quantile(0.5, 'upstream_duration_seconds', 'upstream'), 'p50 {{upstream}}'],
          [quantile(0.99, 'upstream_duration_seconds', 'upstream'), 'p99 {{upstream}}'],
        ]),
        panel(
          'The gateway itself',
          's',
          'Time that is neither the upstream nor the client: the price of the checks.',
          [
            [quantile(0.5, 'overhead_seconds'), 'p50'],
            [quantile(0.99, 'overhead_seconds'), 'p99'],
          ],
        ),
      ],
    },
    {
      title: 'Saturation',
      panels: [
        panel('CPU', 'percentunit', 'Of one core, of each process; a gateway is one unless it has workers.', [
          [`rate(process_cpu_seconds_total{${those}}[${window}])`, '{{instance}} {{worker}}'],
        ]),
        panel(
          'Memory',
          'bytes',
          'Resident, of each process; compare the sum with the limit of the container.',
          [[`process_resident_memory_bytes{${those}}`, '{{instance}} {{worker}}']],
        ),
        panel('Workers', 'short', 'Of gateways that have several: missing ones, and ends by themselves.', [
          [`portcullis_workers{${those}} - portcullis_workers_listening{${those}}`, 'missing {{instance}}'],
          [`increase(portcullis_worker_restarts_total{${those}}[${window}])`, 'ended {{instance}}'],
        ]),
        panel('Event loop', 's', 'Delay of the 99th percentile; above 0.1 s requests wait for CPU.', [
          [`nodejs_eventloop_lag_p99_seconds{${those}}`, '{{instance}} {{worker}}'],
        ]),
      ],
    },
    {
      title: 'What it depends on',
      panels: [
        panel('Audit records', 'short', 'Records a second, by sink.', [
          [rate('audit_records_total', 'sink'), '{{sink}}'],
        ]),
        panel('Audit sinks', 'short', '1 takes records; dropped ones are lost.', [
          [`portcullis_audit_sink_up{${those}}`, 'up {{sink}} {{instance}}'],
          [
            `sum by (sink) (increase(portcullis_audit_dropped_total{${those}}[${window}]))`,
            'dropped {{sink}}',
          ],
        ]),
        panel('Rate decisions', 'short', 'Who decided; local and open mean that Redis is away.', [
          [rate('rate_limit_decisions_total', 'source'), '{{source}}'],
        ]),
        panel('Configuration', 'short', '1: the last gateway.yaml was taken.', [
          [`portcullis_config_last_reload_successful{${those}}`, '{{instance}}'],
        ]),
      ],
    },
  ],
};

const security: Dashboard = {
  uid: 'portcullis-security',
  title: 'Portcullis: security',
  description: 'Who fails to authenticate, who is limited, what administrators do, and what is unusual.',
  rows: [
    {
      title: 'At a glance',
      panels: [
        panel(
          'Refused credentials',
          'short',
          'A second, all reasons.',
          [[`sum(rate(portcullis_auth_failures_total{${those}}[${window}]))`, '']],
          'stat',
        ),
        panel(
          'Over the limit',
          'short',
          '429 a second.',
          [[`sum(rate(portcullis_rate_limited_total{${those}}[${window}]))`, '']],
          'stat',
        ),
        panel(
          'Incidents',
          'short',
          'In the time that is shown: a stolen refresh token, a locked name.',
          [[`sum(increase(portcullis_incidents_total{${those}}[$__range]))`, '']],
          'stat',
        ),
        panel(
          'Revocation lag',
          's',
          'How long ago it was last known what is revoked; 5 s at most while the database answers.',
          [[`max(portcullis_revocation_staleness_seconds{${those}})`, '']],
          'stat',
        ),
      ],
    },
    {
      title: 'Authentication',
      panels: [
        panel(
          'Refused credentials by reason',
          'short',
          'unknown_key and bad_signature are guesses; expired is a client that forgot to refresh.',
          [[rate('auth_failures_total', 'reason'), '{{reason}}']],
        ),
        panel('Refused credentials by kind', 'short', 'Keys, tokens, passwords.', [
          [rate('auth_failures_total', 'credential'), '{{credential}}'],
        ]),
        panel('Incidents by kind', 'short', 'Each is a line in the log with the id of its audit record.', [
          [`sum by (kind) (increase(portcullis_incidents_total{${those}}[${window}]))`, '{{kind}}'],
        ]),
      ],
    },
    {
      title: 'Authorization and limits',
      panels: [
        panel(
          'Denied by route',
          'short',
          'Verified callers without the permission: a wrong role, or somebody looking around.',
          [[rate('authorization_denials_total', 'route'), '{{route}}']],
        ),
        panel(
          'Over the limit by class',
          'short',
          'A class that is limited all day has the wrong rate, or the wrong caller.',
          [[rate('rate_limited_total', 'class'), '{{class}}']],
        ),
        panel(
          'Share of 401, 403, 404 and 429',
          'percentunit',
          'Unusual patterns: a scan raises 404 and 401, a broken client 403 or 429.',
          [
            [
              `${rate('http_requests_total', 'status', 'status=~"401|403|404|429"')} / ignoring (status) group_left ${requests}`,
              '{{status}}',
            ],
          ],
        ),
      ],
    },
    {
      title: 'Administration',
      panels: [
        panel(
          'Administrative calls',
          'short',
          'What was asked of /admin and /auth; the audit log says by whom.',
          [
            [
              rate('http_requests_total', 'route, method, status', 'route=~".*/(admin|auth)/.*"'),
              '{{method}} {{route}} {{status}}',
            ],
          ],
        ),
        panel(
          'Refused by the parser',
          'short',
          'Requests that were no HTTP: a scanner, or an attempt to smuggle.',
          [[rate('http_requests_total', 'status', 'route="none",method="_OTHER"'), '{{status}}']],
        ),
        panel(
          'Time to the end of a certificate',
          's',
          'Nothing is shown where the gateway does not end TLS.',
          [[`portcullis_tls_certificate_expiry_timestamp_seconds{${those}} - time()`, '{{instance}}']],
        ),
      ],
    },
  ],
};

const datasource = { type: 'prometheus', uid: '$datasource' };

/** Grafana's own form, importable as it is; 24 columns wide. */
function grafana({ uid, title, description, rows }: Dashboard): object {
  const panels: object[] = [];
  let [id, y] = [0, 0];
  for (const row of rows) {
    id += 1;
    panels.push({
      id,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { x: 0, y, w: 24, h: 1 },
    });
    y += 1;
    const w = Math.floor(24 / row.panels.length);
    const h = row.panels.every(({ kind }) => kind === 'stat') ? 4 : 8;
    for (const [index, one] of row.panels.entries()) {
      id += 1;
      panels.push({ id, ...panelOf(one), gridPos: { x: index * w, y, w, h } });
    }
    y += h;
  }
  return {
    uid,
    title,
    description,
    tags: ['portcullis'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    timezone: 'browser',
    templating: { list: variables },
    annotations: { list: [] },
    panels,
  };
}

function panelOf({ title, description, unit, kind = 'timeseries', queries }: Panel): object {
  return {
    type: kind,
    title,
    description,
    datasource,
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    options:
      kind === 'stat'
        ? {
            reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
            graphMode: 'area',
            colorMode: 'value',
          }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource,
      expr,
      legendFormat: legend === '' ? '__auto' : legend,
    })),
  };
}

const variables = [
  { name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' },
  ...['job', 'instance'].map((name) => ({
    name,
    label: name,
    type: 'query',
    datasource,
    query: `label_values(portcullis_build_info${name === 'instance' ? '{job=~"$job"}' : ''}, ${name})`,
    refresh: 2,
    includeAll: true,
    multi: true,
    current: { text: 'All', value: '$__all' },
  })),
];

const folder = new URL('../', import.meta.url);

/** Path below `deploy/` → content. */
export function generated(): ReadonlyMap<string, string> {
  const dashboards = [operators, security].map(
    (dashboard) =>
      [`grafana/${dashboard.uid}.json`, `${JSON.stringify(grafana(dashboard), null, 2)}\n`] as const,
  );
  const rules = parse(readFileSync(new URL('prometheus/alerts.yaml', folder), 'utf8'));
  return new Map([
    ...dashboards,
    [
      'kubernetes/monitoring/prometheus-rule.yaml',
      manifest('PrometheusRule', 'monitoring.coreos.com/v1', { spec: rules }),
    ],
    [
      'kubernetes/monitoring/dashboards.yaml',
      manifest('ConfigMap', 'v1', {
        data: Object.fromEntries(dashboards.map(([path, json]) => [path.replace('grafana/', ''), json])),
      }),
    ],
  ]);
}

/** Grafana's sidecar takes ConfigMaps with this label. */
function manifest(kind: string, apiVersion: string, content: object): string {
  const labels = kind === 'ConfigMap' ? { grafana_dashboard: '1' } : {};
  const metadata = { name: 'portcullis', labels: { 'app.kubernetes.io/name': 'portcullis', ...labels } };
  const made =
    '# Made by deploy/grafana/generate.ts; change that, or prometheus/alerts.yaml, and run it again.\n';
  return made + stringify({ apiVersion, kind, metadata, ...content }, { lineWidth: 0 });
}

if (import.meta.main) {
  for (const [path, content] of generated()) writeFileSync(new URL(path, folder), content);
}
