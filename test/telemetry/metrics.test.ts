import { execFileSync } from 'node:child_process';
import { METHODS } from 'node:http';
import t from 'tap';
import type { Exchange } from '../../src/exchange.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { exchangeOf, readClass, routeOf, type Sent } from '../support/exchange.ts';

const metricsOf = () => new Metrics({ version: '1.2.3', nodeVersion: 'v26' });

/** Ends a request that went like this. */
function end(
  metrics: Metrics,
  sent: Sent,
  changes: Partial<Exchange>,
  outcome: Partial<Exchange['outcome']> = {},
): void {
  const exchange = exchangeOf(sent, changes);
  Object.assign(exchange.outcome, { status: 200, ...outcome });
  metrics.requestBegins();
  metrics.requestEnds(exchange, 5);
}

/** The lines of ours that are samples. */
async function samples(metrics: Metrics): Promise<string[]> {
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => line.startsWith('portcullis_'));
}

t.test('names are as Prometheus wants them', async (t) => {
  const metrics = metricsOf();
  metrics.prepare({ classes: ['read'], sinks: ['file'] });
  metrics.followVerified({ hit: 1 }, () => Number.POSITIVE_INFINITY);
  end(metrics, {}, { route: routeOf() }, { upstreamMs: 1 });
  for (const { name, type, help } of await metrics.registry.getMetricsAsJSON()) {
    t.match(name, /^[a-z_][a-z0-9_]*$/);
    t.ok(help, name);
    if (name.startsWith('portcullis_')) t.equal(String(type) === 'counter', name.endsWith('_total'), name);
  }
});

t.test('promtool finds no fault', async (t) => {
  const metrics = metricsOf();
  metrics.prepare({ classes: ['read'], sinks: ['file'] });
  metrics.followVerified({ hit: 1 }, () => Number.POSITIVE_INFINITY);
  end(metrics, {}, { route: routeOf() }, { upstreamMs: 1 });
  const said = execFileSync('promtool', ['check', 'metrics'], {
    input: await metrics.registry.metrics(),
    encoding: 'utf8',
  });
  t.equal(said, '');
});

t.test('a request is counted by route template, method and status', async (t) => {
  const metrics = metricsOf();
  end(
    metrics,
    { method: 'POST', target: '/tools/1' },
    { route: routeOf({ template: '/tools/*' }) },
    { status: 201 },
  );
  t.ok(
    (await samples(metrics)).includes(
      'portcullis_http_requests_total{route="/tools/*",method="POST",status="201"} 1',
    ),
  );
});

for (const method of ['BREW', 'get', '', 'CONNECT\n', 'x'.repeat(1_000)])
  t.test(`the method ${JSON.stringify(method).slice(0, 12)} is _OTHER`, async (t) => {
    const metrics = metricsOf();
    end(metrics, { method }, {});
    t.match(
      (await samples(metrics)).join('\n'),
      /http_requests_total\{route="none",method="_OTHER",status="200"\} 1/,
    );
  });

t.test('every method node knows keeps its name', async (t) => {
  const metrics = metricsOf();
  for (const method of METHODS) end(metrics, { method }, {});
  t.notMatch((await samples(metrics)).join('\n'), /_OTHER/);
});

t.test('a thousand paths, keys and names make no series', async (t) => {
  const metrics = metricsOf();
  const request = (number: number) => {
    const id = `client-${number}`;
    const sent = {
      target: `/${id}?${id}`,
      headers: ['User-Agent', id, 'X-API-Key', id],
      peer: `192.0.2.${number % 250}`,
    };
    end(
      metrics,
      sent,
      { route: routeOf({ template: 'unknown' }), credentialId: id, identifiedSubject: id },
      { status: 404, code: 'route_not_found' },
    );
    end(
      metrics,
      { ...sent, method: id },
      {},
      { status: 401, code: 'invalid_credential', reason: 'unknown_key' },
    );
  };
  request(0);
  const before = (await samples(metrics)).length;
  for (let number = 1; number <= 1_000; number += 1) request(number);
  const after = await samples(metrics);
  t.equal(after.length, before);
  t.notMatch(after.join('\n'), /client-/);
});

t.test('what is under way goes up and down', async (t) => {
  const metrics = metricsOf();
  metrics.requestBegins();
  metrics.requestBegins();
  metrics.requestEnds(exchangeOf(), 1);
  t.ok((await samples(metrics)).includes('portcullis_http_requests_in_flight 1'));
});

t.test("the gateway's own share is what the upstream did not take, and never negative", async (t) => {
  const metrics = metricsOf();
  end(metrics, {}, { route: routeOf() }, { upstreamMs: 3 });
  end(metrics, {}, { route: routeOf() }, { upstreamMs: 9 });
  t.match((await samples(metrics)).join('\n'), /overhead_seconds_sum 0\.002\b/);
});

for (const [code, line] of [
  ['invalid_credential', 'portcullis_auth_failures_total{credential="Bearer",reason="expired"} 1'],
  ['permission_denied', 'portcullis_authorization_denials_total{route="/tools"} 1'],
  ['rate_limited', 'portcullis_rate_limited_total{class="read"} 1'],
] as const)
  t.test(`${code} has its own count`, async (t) => {
    const metrics = metricsOf();
    end(metrics, {}, { route: routeOf(), authType: 'Bearer' }, { code, reason: 'expired' });
    t.ok((await samples(metrics)).includes(line));
  });

t.test('a missing credential is a failure too', async (t) => {
  const metrics = metricsOf();
  end(metrics, {}, { route: routeOf() }, { code: 'credential_missing', reason: 'missing' });
  t.ok(
    (await samples(metrics)).includes('portcullis_auth_failures_total{credential="none",reason="missing"} 1'),
  );
});

t.test('a decision of a bucket is counted once, by who decided', async (t) => {
  const metrics = metricsOf();
  metrics.prepare({ classes: [], sinks: [] });
  end(
    metrics,
    {},
    {
      route: routeOf(),
      rate: {
        rateClass: readClass,
        source: 'lease',
        admitted: true,
        remaining: 1,
        fullInMs: 0,
        retryInMs: 0,
      },
    },
  );
  const lines = await samples(metrics);
  t.ok(lines.includes('portcullis_rate_limit_decisions_total{source="lease"} 1'));
  t.ok(
    lines.includes('portcullis_rate_limit_decisions_total{source="memory"} 0'),
    'the others are there as 0',
  );
});

t.test('an upstream is up as long as it is said to be, and its ejected addresses are counted', async (t) => {
  const metrics = metricsOf();
  metrics.upstreamState('registry', false, 2);
  const lines = await samples(metrics);
  t.ok(lines.includes('portcullis_upstream_up{upstream="registry"} 0'));
  t.ok(lines.includes('portcullis_upstream_ejected{upstream="registry"} 2'));
});

t.test('what rules find in bodies is counted by route, rule and action', async (t) => {
  const metrics = metricsOf();
  const findings = [
    { rule: 'script', action: 'report' },
    { rule: 'bidi', action: 'refuse' },
  ] as const;
  end(metrics, {}, { route: routeOf(), findings }, {});
  const lines = await samples(metrics);
  for (const { rule, action } of findings)
    t.ok(
      lines.includes(`portcullis_body_findings_total{route="/tools",rule="${rule}",action="${action}"} 1`),
    );
});

t.test('series exist before the first event', async (t) => {
  const metrics = metricsOf();
  metrics.prepare({ classes: ['read', 'write'], sinks: ['file'] });
  const lines = await samples(metrics);
  for (const line of [
    'portcullis_incidents_total{kind="refresh_reuse"} 0',
    'portcullis_rate_limited_total{class="write"} 0',
    'portcullis_audit_dropped_total{sink="file"} 0',
    'portcullis_audit_sink_up{sink="file"} 1',
  ])
    t.ok(lines.includes(line), line);
});

t.test('two metrics registries do not disturb each other', async (t) => {
  const [one, other] = [metricsOf(), metricsOf()];
  one.refusedByParser(400);
  t.match((await samples(one)).join('\n'), /status="400"\} 1/);
  t.notMatch((await samples(other)).join('\n'), /status="400"/);
});

t.test(
  'the memory of credentials and the bound of revocation are read when they are asked for',
  async (t) => {
    const metrics = metricsOf();
    const counts = { hit: 0, miss: 0, stale: 0 };
    let stalenessMs = 1_500;
    metrics.followVerified(counts, () => stalenessMs);
    const shown = async () =>
      (await samples(metrics)).filter((line) => /credential_cache|staleness/.test(line)).sort();
    t.strictSame(await shown(), [
      'portcullis_credential_cache_total{result="hit"} 0',
      'portcullis_credential_cache_total{result="miss"} 0',
      'portcullis_credential_cache_total{result="stale"} 0',
      'portcullis_revocation_staleness_seconds 1.5',
    ]);
    Object.assign(counts, { hit: 7, miss: 2 });
    stalenessMs = 0;
    for (const round of [1, 2]) {
      const [hit, miss, , staleness] = await shown();
      t.match([hit, miss, staleness], [/ 7$/, / 2$/, / 0$/], `look ${round}`);
    }
  },
);
