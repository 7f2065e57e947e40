/** Prometheus metrics. Labels come from configuration and closed sets, never from a client's path, key or name. */
import { METHODS } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { type ConnectionBound, connectionBounds } from '../admission.ts';
import { type Incident, incidents } from '../errors.ts';
import { type Exchange, rateSources } from '../exchange.ts';
import { acceptsOpenMetrics, type Exposition, openMetrics, plainText } from './exposition.ts';
import { type SpanResult, spanResults } from './span-results.ts';
import { Distribution, type Exemplar, Tally } from './tallies.ts';

const requestBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const overheadBuckets = [
  0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1,
];

const knownMethods = new Set(METHODS);

/** Gauges that prom-client names like counters; the same numbers stand there by type, without `_total`. */
export const misnamedDefaults = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/** The label of what never matched a route. */
const noRoute = 'none';

export class Metrics {
  /** prom-client's registry: not the tool registry. */
  readonly registry = new Registry();
  readonly #requests = this.#tally('http_requests_total', 'Requests answered, by route, method and status.', [
    'route',
    'method',
    'status',
  ]);
  readonly #seconds = new Distribution(this.registry, {
    name: 'portcullis_http_request_duration_seconds',
    help: 'Time from head to last byte.',
    bounds: requestBuckets,
    label: 'route',
  });
  readonly #upstreamSeconds = new Distribution(this.registry, {
    name: 'portcullis_upstream_duration_seconds',
    help: 'Time from sending to the end of the answer.',
    bounds: requestBuckets,
    label: 'upstream',
  });
  readonly #overheadSeconds = new Distribution(this.registry, {
    name: 'portcullis_overhead_seconds',
    help: "The gateway's own share of a request's time.",
    bounds: overheadBuckets,
  });
  #inFlight = 0;
  readonly #websocketsOpen = this.#gauge('websockets_open', 'WebSockets open or opening.', []);
  readonly #connections = this.#gauge('connections', 'Connections of clients.', []);
  readonly #connectionsRefused = this.#counter(
    'connections_refused_total',
    'Connections over a bound: of all (all), or of one address (address).',
    ['bound'],
  );
  readonly #authFailures = this.#counter('auth_failures_total', 'Credentials refused.', [
    'credential',
    'reason',
  ]);
  readonly #incidents = this.#counter('incidents_total', 'What somebody should look at, by kind.', ['kind']);
  readonly #denials = this.#counter(
    'authorization_denials_total',
    'Verified callers without the permission.',
    ['route'],
  );
  readonly #findings = this.#counter(
    'body_findings_total',
    'Bodies in which a rule found something, by what was done.',
    ['route', 'rule', 'action'],
  );
  readonly #rateLimited = this.#counter('rate_limited_total', 'Requests over their rate.', ['class']);
  readonly #rateDecisions = this.#tally('rate_limit_decisions_total', 'Rate decisions, by who decided.', [
    'source',
  ]);
  readonly #spans = this.#counter('trace_spans_total', 'Spans, by what became of them.', ['result']);
  readonly #auditRecords = this.#tally('audit_records_total', 'Audit records that a sink has taken.', [
    'sink',
  ]);
  readonly #storeUp = this.#gauge(
    'rate_limit_store_up',
    'Whether the Redis that counts for all gateways answers; 1 without one, since memory does.',
    [],
  );
  readonly #auditDropped = this.#tally('audit_dropped_total', 'Audit records that a sink has lost.', [
    'sink',
  ]);
  readonly #auditUp = this.#gauge('audit_sink_up', 'Whether the sink takes records.', ['sink']);
  readonly #auditUnrecorded = this.#counter(
    'audit_unrecorded_total',
    'Reads let through while the audit log could not be written.',
    [],
  );
  readonly #upstreamUp = this.#gauge('upstream_up', 'Whether an address of the upstream answers.', [
    'upstream',
  ]);
  readonly #upstreamEjected = this.#gauge(
    'upstream_ejected',
    'Addresses of the upstream that are left out.',
    ['upstream'],
  );
  readonly #reloadOk = this.#gauge(
    'config_last_reload_successful',
    'Whether the last configuration was taken.',
    [],
  );
  readonly #reloadSeconds = this.#gauge(
    'config_last_reload_success_timestamp_seconds',
    'When a configuration was last taken.',
    [],
  );
  readonly #tokenKeysOk = this.#gauge(
    'token_keys_last_reload_successful',
    'Whether the key files of our own tokens could be used when they last changed.',
    [],
  );
  readonly #tlsExpiry = this.#gauge(
    'tls_certificate_expiry_timestamp_seconds',
    'When the certificate of the traffic port ends.',
    [],
  );
  readonly #tlsReloadOk = this.#gauge(
    'tls_certificate_last_reload_successful',
    'Whether the files of listen.tls could be used when they last changed.',
    [],
  );
  readonly #tlsHandshakes = this.#counter(
    'tls_handshake_failures_total',
    'Connections to the TLS port that never spoke HTTP, by what was wrong.',
    ['fault'],
  );
  readonly #issuerFetches = this.#counter(
    'issuer_key_fetches_total',
    'Fetches of issuers’ keys, by result.',
    ['issuer', 'result'],
  );
  readonly #issuerKeys = this.#gauge('issuer_keys', 'Keys of the issuer in use.', ['issuer']);
  readonly #issuerKeysSeconds = this.#gauge(
    'issuer_keys_last_success_timestamp_seconds',
    'When the keys of the issuer were last fetched; 0 before the first time.',
    ['issuer'],
  );
  #hasExemplars = false;
  readonly #build = this.#gauge('build_info', 'What is running.', ['version', 'node_version']);

  constructor(build: { version: string; nodeVersion: string }) {
    this.#followInFlight();
    collectDefaultMetrics({ register: this.registry });
    for (const name of misnamedDefaults) this.registry.removeSingleMetric(name);
    this.#storeUp.set(1);
    this.#build.set({ version: build.version, node_version: build.nodeVersion }, 1);
  }

  /** Series that exist before the first event, so that an alert's rate() has something to start from. */
  prepare(names: { classes: Iterable<string>; sinks: Iterable<string> }): void {
    for (const bound of connectionBounds) this.#connectionsRefused.inc({ bound }, 0);
    for (const source of rateSources) this.#rateDecisions.count([source], 0);
    for (const kind of incidents) this.#incidents.inc({ kind }, 0);
    this.prepareClasses(names.classes);
    for (const sink of names.sinks) {
      this.#auditRecords.count([sink], 0);
      this.#auditDropped.count([sink], 0);
      this.auditSinkUp(sink, true);
    }
  }

  prepareClasses(classes: Iterable<string>): void {
    for (const rateClass of classes) this.#rateLimited.inc({ class: rateClass }, 0);
  }

  /** @param open those that have a place now */
  connections(open: number): void {
    this.#connections.set(open);
  }

  connectionRefused(bound: ConnectionBound): void {
    this.#connectionsRefused.inc({ bound });
  }

  requestBegins(): void {
    this.#inFlight += 1;
  }

  requestEnds(exchange: Exchange, processMs: number): void {
    const { outcome, request } = exchange;
    const route = exchange.route?.template ?? noRoute;
    this.#inFlight -= 1;
    this.#requests.count([route, methodLabel(request.method), String(outcome.status)]);
    // How long a WebSocket was open says nothing of how fast anything is.
    if (outcome.bytesIn === undefined) this.#observeTimes(exchange, route, processMs);
    if (exchange.rate !== undefined) this.#rateDecisions.count([exchange.rate.source]);
    this.#countFindings(exchange, route);
    this.#countRefusal(exchange, route);
  }

  #observeTimes(exchange: Exchange, route: string, processMs: number): void {
    this.#seconds.observe(route, processMs / 1000, exemplarOf(exchange, processMs));
    this.#overheadSeconds.observe('', Math.max(0, processMs - (exchange.outcome.upstreamMs ?? 0)) / 1000);
    this.#countUpstream(exchange);
  }

  /** @param open how many there are now */
  websocketsOpen(open: number): void {
    this.#websocketsOpen.set(open);
  }

  #countUpstream({ outcome, route }: Exchange): void {
    if (outcome.upstreamMs === undefined || route?.destination.kind !== 'upstream') return;
    const upstream = route.destination.upstream.name;
    this.#upstreamSeconds.observe(upstream, outcome.upstreamMs / 1000);
  }

  #countFindings({ findings }: Exchange, route: string): void {
    if (findings === undefined) return;
    for (const { rule, action } of findings) this.#findings.inc({ route, rule, action });
  }

  #countRefusal(exchange: Exchange, route: string): void {
    const { outcome, route: matched } = exchange;
    // Every reason is one why a credential, a password included, was not accepted.
    if (outcome.reason !== undefined) {
      this.#authFailures.inc({ credential: credentialLabel(exchange), reason: outcome.reason });
    }
    switch (outcome.code) {
      case 'permission_denied':
        this.#denials.inc({ route });
        break;
      case 'rate_limited':
        this.#rateLimited.inc({ class: matched?.rateClass.name ?? noRoute });
        break;
      default:
    }
  }

  incident(kind: Incident): void {
    this.#incidents.inc({ kind });
  }

  /** A request that the parser refused; it has neither route nor method. */
  refusedByParser(status: number): void {
    this.#requests.count([noRoute, '_OTHER', String(status)]);
  }

  rateLimitStoreUp(up: boolean): void {
    this.#storeUp.set(up ? 1 : 0);
  }

  /** @param ejected how many of its addresses are left out */
  upstreamState(upstream: string, up: boolean, ejected: number): void {
    this.#upstreamUp.set({ upstream }, up ? 1 : 0);
    this.#upstreamEjected.set({ upstream }, ejected);
  }

  /** It is configured no more: an alert on it would never end. */
  forgetUpstream(upstream: string): void {
    this.#upstreamUp.remove({ upstream });
    this.#upstreamEjected.remove({ upstream });
  }

  auditRecord(sink: string, taken: boolean, count = 1): void {
    (taken ? this.#auditRecords : this.#auditDropped).count([sink], count);
  }

  auditSinkUp(sink: string, up: boolean): void {
    this.#auditUp.set({ sink }, up ? 1 : 0);
  }

  auditUnrecorded(): void {
    this.#auditUnrecorded.inc();
  }

  tokenKeysReread(taken: boolean): void {
    this.#tokenKeysOk.set(taken ? 1 : 0);
  }

  /** @param faults everything that can be wrong with a handshake */
  prepareTls(faults: readonly string[]): void {
    for (const fault of faults) this.#tlsHandshakes.inc({ fault }, 0);
  }

  /** @param validUntilSeconds Unix seconds */
  tlsCertificateTaken(validUntilSeconds: number): void {
    this.#tlsReloadOk.set(1);
    this.#tlsExpiry.set(validUntilSeconds);
  }

  tlsCertificateRefused(): void {
    this.#tlsReloadOk.set(0);
  }

  tlsHandshakeFailed(fault: string): void {
    this.#tlsHandshakes.inc({ fault });
  }

  /** Spans are made from now on: their series are there, and so are exemplars, for who takes them. */
  prepareTracing(): void {
    this.#hasExemplars = true;
    for (const result of spanResults) this.#spans.inc({ result }, 0);
  }

  spansEnded(result: SpanResult, count: number): void {
    this.#spans.inc({ result }, count);
  }

  /** Every metric in the format a scraper takes. @param accept its Accept header */
  exposition(accept: string | undefined): Promise<Exposition> {
    // Without exemplars OpenMetrics has nothing more to say.
    return this.#hasExemplars && acceptsOpenMetrics(accept)
      ? openMetrics(this.registry)
      : plainText(this.registry);
  }

  /** @param results every result a fetch can have */
  prepareIssuer(issuer: string, results: readonly string[]): void {
    for (const result of results) this.#issuerFetches.inc({ issuer, result }, 0);
    this.#issuerKeys.set({ issuer }, 0);
    this.#issuerKeysSeconds.set({ issuer }, 0);
  }

  /** @param okAtSeconds Unix seconds of now when the keys were taken, else undefined */
  issuerFetched(issuer: string, result: string, keys: number, okAtSeconds: number | undefined): void {
    this.#issuerFetches.inc({ issuer, result });
    this.#issuerKeys.set({ issuer }, keys);
    if (okAtSeconds !== undefined) this.#issuerKeysSeconds.set({ issuer }, okAtSeconds);
  }

  /** @param nowSeconds Unix seconds */
  configLoaded(nowSeconds: number): void {
    this.#reloadOk.set(1);
    this.#reloadSeconds.set(nowSeconds);
  }

  configRefused(): void {
    this.#reloadOk.set(0);
  }

  /**
   * What is read when the metrics are, not told at every request.
   * @param counts looks at the credentials seen before, by result
   * @param stalenessMs since the database last showed what is revoked
   */
  followVerified(counts: Readonly<Record<string, number>>, stalenessMs: () => number): void {
    const registers = [this.registry];
    new Counter({
      name: 'portcullis_credential_cache_total',
      help: 'Credentials looked up among those verified before, by result.',
      labelNames: ['result'],
      registers,
      collect() {
        this.reset();
        for (const [result, count] of Object.entries(counts)) this.inc({ result }, count);
      },
    });
    new Gauge({
      name: 'portcullis_revocation_staleness_seconds',
      help: 'How long ago a revocation may have been made that is not known here yet.',
      registers,
      collect() {
        this.set(stalenessMs() / 1000);
      },
    });
  }

  #counter(name: string, help: string, labelNames: string[]): Counter {
    return new Counter({ name: `portcullis_${name}`, help, labelNames, registers: [this.registry] });
  }

  #gauge(name: string, help: string, labelNames: string[]): Gauge {
    return new Gauge({ name: `portcullis_${name}`, help, labelNames, registers: [this.registry] });
  }

  #tally<const Names extends readonly string[]>(name: string, help: string, labelNames: Names): Tally<Names> {
    return new Tally(this.registry, `portcullis_${name}`, help, labelNames);
  }

  #followInFlight(): void {
    const inFlight = () => this.#inFlight;
    new Gauge({
      name: 'portcullis_http_requests_in_flight',
      help: 'Requests under way.',
      registers: [this.registry],
      collect() {
        this.set(inFlight());
      },
    });
  }
}

/** What was presented: in the head, or in the body of an endpoint that takes a secret there. */
function credentialLabel({ route, authType }: Exchange): string {
  const inBody = route?.destination.kind === 'local' ? route.destination.endpoint.secretInBody : undefined;
  return inBody ?? authType;
}

/** OpenTelemetry's convention: what is no known method is `_OTHER`. */
function methodLabel(method: string | undefined): string {
  return method !== undefined && knownMethods.has(method) ? method : '_OTHER';
}

/** Where a request of this duration can be looked at; nothing where it is not sampled. */
function exemplarOf(
  { trace: { traceId, spans }, startedAt }: Exchange,
  processMs: number,
): Exemplar | undefined {
  if (spans === undefined) return undefined;
  return {
    labels: { trace_id: traceId, span_id: spans.server },
    timestamp: (startedAt + processMs) / 1000,
  };
}
