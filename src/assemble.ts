/** Builds a gateway from its configuration: every client opened here, handed in, and closed again in order. */
import { FileSink } from './audit/file-sink.ts';
import { AuditLog } from './audit/log.ts';
import { Recorder } from './audit/recorder.ts';
import { Failures } from './bucket/failures.ts';
import { MemoryBuckets } from './bucket/memory.ts';
import type { Clock } from './clock.ts';
import type { LoadedConfig } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { type Issuers, openIssuers } from './credentials/issuers.ts';
import { KnownCredentials } from './credentials/known.ts';
import { lockDatabase, lostSentence } from './database-lock.ts';
import { createDownstream, type DownstreamTimeouts } from './downstream.ts';
import type { Gateway } from './gateway.ts';
import { trustOf } from './http/client-address.ts';
import { Cors } from './http/cors.ts';
import type { ResponsePolicy } from './http/response.ts';
import { SecurityHeaders } from './http/security-headers.ts';
import type { Upstream } from './http/upstream.ts';
import { type Identity, openIdentity } from './identity/store.ts';
import { closeAtOnce, drain, listen } from './listening.ts';
import { createOperations } from './operations.ts';
import { buildRouting } from './routing.ts';
import { StartError, startError } from './start-error.ts';
import { KeyReports } from './telemetry/key-reports.ts';
import type { Logger } from './telemetry/log.ts';
import { Metrics } from './telemetry/metrics.ts';
import { openTracing, type Tracing } from './telemetry/tracing.ts';
import { closeUpstreams, openUpstreams } from './upstreams.ts';

export interface Surroundings {
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  readonly nodeVersion: string;
  /** Names this process in audit records. */
  readonly replica: string;
}

export interface RunningGateway {
  /** Where clients come in, such as `http://127.0.0.1:8000`. */
  readonly trafficUrl: string;
  readonly operationsUrl: string;
  readonly identity: Identity;
  readonly auditLog: AuditLog;
  /** Resolves with a sentence when it must not go on: another gateway has the database now. */
  readonly died: Promise<string>;
  /** Opens the audit log anew, after something has rotated it away. */
  reopenLogs(): void;
  /** Says why in the log and writes what the audit log still holds; the caller ends the process. */
  fail(error: unknown): void;
  /** Fails readiness, finishes what is in flight within the grace time, writes the rest of the log. */
  close(): Promise<void>;
}

/** @throws StartError for a port in use, a data directory in use, a log that cannot be written */
export async function startGateway(
  loaded: LoadedConfig,
  surroundings: Surroundings,
): Promise<RunningGateway> {
  // Closed last in, first out: at the end, or at once when something after it fails.
  const opened = new AsyncDisposableStack();
  try {
    return await open(loaded, surroundings, opened);
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

async function open(
  { config, digest }: LoadedConfig,
  { clock, log, version, nodeVersion, replica }: Surroundings,
  opened: AsyncDisposableStack,
): Promise<RunningGateway> {
  const lock = opened.adopt(await lockDatabase(config, log), (held) => held.release());
  const metrics = new Metrics({ version, nodeVersion });
  const random = Math.random;
  const tracing = await openTracing(config.tracing, { metrics, log, version, replica, random });
  opened.defer(() => tracing?.close());
  const sink = await openSink(config, log, (up) => metrics.auditSinkUp('file', up));
  const context = { replica, configDigest: digest };
  const audit = new AuditLog(sink, context, (name, taken) => metrics.auditRecord(name, taken));
  opened.defer(() => audit.close());
  const recorder = new Recorder({ audit, metrics, clock, log, tracing });
  const reports = new KeyReports(metrics, log, clock);
  const identity = await openIdentity({
    config,
    clock,
    onError: (err) => log.warn({ err }, 'identity'),
    onTokenKeysReread: (error) => reports.tokenKeys(error),
  });
  opened.defer(() => identity.close());
  const issuers = await openIssuersOf(config, clock, reports);
  opened.defer(() => issuers.close());
  const upstreams = openUpstreams(config, { clock, metrics, log });
  opened.defer(() => closeUpstreams(upstreams));
  const state = { ready: false, draining: false };
  const isDraining = () => state.draining;
  const gateway = buildGateway({
    config,
    clock,
    identity,
    issuers,
    recorder,
    tracing,
    upstreams,
    version,
    isDraining,
  });
  const operations = createOperations({
    metrics,
    isReady: () => state.ready,
    jwks: () => identity.jwks(),
  });
  const operationsUrl = await listen(operations, config.operations, 'operations');
  opened.defer(() => closeAtOnce(operations));
  const traffic = createDownstream(gateway, timeoutsOf(config));
  const trafficUrl = await listen(traffic, config.listen, 'listen');
  opened.defer(() => drain(traffic));
  metrics.prepare({
    classes: Object.keys(config.rate_limits.classes),
    sinks: [sink.name],
  });
  metrics.configLoaded(Math.floor(clock.wallMs() / 1000));
  state.ready = true;
  log.info(
    { traffic: trafficUrl, operations: operationsUrl, config_digest: digest },
    'portcullis is listening',
  );
  return {
    trafficUrl,
    operationsUrl,
    identity,
    auditLog: audit,
    died: lock.lost.then(() => lostSentence),
    reopenLogs: () => {
      sink.reopen();
      log.info('the audit log is opened anew');
    },
    fail: (err) => {
      log.fatal({ err }, 'state is in doubt: portcullis ends');
      audit.flushNow();
    },
    close: async () => {
      state.ready = false;
      state.draining = true;
      await opened.disposeAsync();
      log.info('portcullis has stopped');
    },
  };
}

function timeoutsOf({ listen }: Config): DownstreamTimeouts {
  const { headers, request, idle } = listen.timeouts;
  return { headersMs: headers, requestMs: request, idleMs: idle };
}

interface Parts {
  readonly config: Config;
  readonly clock: Clock;
  readonly identity: Identity;
  readonly issuers: Issuers;
  readonly recorder: Recorder;
  readonly tracing: Tracing | undefined;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly version: string;
  readonly isDraining: () => boolean;
}

function buildGateway({
  config,
  clock,
  identity,
  issuers,
  recorder,
  tracing,
  upstreams,
  version,
  isDraining,
}: Parts): Gateway {
  const buckets = new MemoryBuckets(clock);
  const failures = new Failures(buckets, { name: 'failures', ...config.auth.failures });
  const known = new KnownCredentials();
  const policy: ResponsePolicy = {
    security: new SecurityHeaders(config.headers.set),
    cors: new Cors(config.cors.allowed_origins),
    clock,
    stallMs: config.listen.timeouts.idle,
    isDraining,
  };
  const verifier = issuers.before(identity.verifier, config.auth.api_keys.prefix);
  return {
    routing: buildRouting({
      config,
      identity,
      failures,
      known,
      upstreams,
      clock,
      cors: policy.cors,
      version,
    }),
    authentication: { verifier, failures, known },
    buckets,
    assertions: identity.assertions,
    policy,
    recorder,
    trust: trustOf(config.listen.trusted_proxies),
    sampling: tracing?.samples,
  };
}

async function openIssuersOf({ auth }: Config, clock: Clock, reports: KeyReports): Promise<Issuers> {
  reports.prepare(auth.issuers.map(({ name }) => name));
  const [issuers, missing] = await openIssuers({
    issuers: auth.issuers,
    clock,
    onFetch: (name, report) => reports.fetched(name, report),
  });
  reports.missingAtStart(missing);
  return issuers;
}

/** Opens the audit log of a configuration; shared with the command line, which writes its changes there too. */
export async function openSink(
  config: Config,
  log: Logger,
  onUp: (up: boolean) => void = () => undefined,
): Promise<FileSink> {
  const [sink] = config.audit.sinks;
  if (sink === undefined) throw new StartError('audit.sinks is empty: name a file');
  try {
    return await FileSink.open({
      path: sink.path,
      fsync: sink.fsync,
      onUp: (up, error) => {
        onUp(up);
        if (up) log.info({ sink: sink.path }, 'the audit log takes records again');
        else
          log.error({ sink: sink.path, err: error }, 'the audit log cannot be written: requests are refused');
      },
    });
  } catch (error) {
    throw startError(
      `the audit log ${sink.path} cannot be opened for writing: set AUDIT_LOG_FILE to a path that can`,
      error,
    );
  }
}
