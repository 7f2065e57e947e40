/** Builds a gateway from its configuration: every client opened here, handed in, and closed again in order. */
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditLog } from './audit/log.ts';
import { openAudit } from './audit/open.ts';
import { readerOf, readingEndpoints } from './audit/reading/open.ts';
import { Recorder } from './audit/recorder.ts';
import type { Buckets, FailureBuckets } from './bucket/buckets.ts';
import { Failures } from './bucket/failures.ts';
import { MemoryBuckets } from './bucket/memory.ts';
import type { Clock } from './clock.ts';
import type { LoadedConfig } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { sinkName } from './config/sink-checks.ts';
import { ConfigInForce, type PreparedConfig } from './config-in-force.ts';
import { openCounting } from './counting.ts';
import { ClientCertificates } from './credentials/client-certificate.ts';
import type { CredentialVerifier } from './credentials/credential.ts';
import { type Issuers, openIssuers, type SharedKeys, sharedKeys } from './credentials/issuers.ts';
import { KnownCredentials } from './credentials/known.ts';
import { VerifiedCredentials } from './credentials/verified.ts';
import { lockDatabase, lostSentence, unlocked } from './database-lock.ts';
import { createDownstream, type DownstreamTls } from './downstream.ts';
import { downstreamBounds } from './downstream-bounds.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import type { Gateway } from './gateway.ts';
import { type Generation, Generations } from './generations.ts';
import { trustOf } from './http/client-address.ts';
import { Cors } from './http/cors.ts';
import type { ResponsePolicy } from './http/response.ts';
import { SecurityHeaders } from './http/security-headers.ts';
import type { Tunnels } from './http/tunnels.ts';
import type { Upstream } from './http/upstream.ts';
import { type Identity, openIdentity } from './identity/store.ts';
import { drain, listen } from './listening.ts';
import { openOperations } from './operations.ts';
import { openRedis } from './redis/open.ts';
import { pushRevocations } from './redis/revocation-push.ts';
import { buildRouting } from './routing.ts';
import { KeyReports } from './telemetry/key-reports.ts';
import type { Logger } from './telemetry/log.ts';
import { Metrics } from './telemetry/metrics.ts';
import { openTracing, type Tracing } from './telemetry/tracing.ts';
import { openTls } from './tls/open.ts';
import { openTunnels } from './upgrade.ts';
import { openUpstreams, sharedUpstreams } from './upstreams.ts';
import type { Seat } from './workers/seat.ts';

export interface Surroundings {
  readonly clock: Clock;
  readonly log: Logger;
  readonly version: string;
  readonly nodeVersion: string;
  /** Names this process in audit records. */
  readonly replica: string;
  /** Standard output, for an audit log that goes there. */
  readonly stdout?: Writable | undefined;
  /** In a worker: what is done for it outside, the operations port and the lock of the database included. */
  readonly seat?: Seat | undefined;
  /** Called when all is built and nothing is listened to yet. */
  readonly beforeListening?: () => void;
}

export interface RunningGateway {
  /** Where clients come in, such as `http://127.0.0.1:8000`. */
  readonly trafficUrl: string;
  /** Empty in a worker, which has none. */
  readonly operationsUrl: string;
  readonly metrics: Metrics;
  readonly identity: Identity;
  readonly auditLog: AuditLog;
  /** Resolves with a sentence when it must not go on: another gateway has the database now. */
  readonly died: Promise<string>;
  /** Puts another configuration in force, whole or not at all. @throws ReloadError, StartError */
  reload(loaded: LoadedConfig): Promise<void>;
  /** Opens all that another configuration needs; the one before stays in force. @throws ReloadError, StartError */
  prepare(loaded: LoadedConfig): Promise<PreparedConfig>;
  /** Says that a configuration was not taken. @param reasons a sentence each */
  refused(reasons: readonly string[]): void;
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
  loaded: LoadedConfig,
  { clock, log, version, nodeVersion, replica, stdout, seat, beforeListening }: Surroundings,
  opened: AsyncDisposableStack,
): Promise<RunningGateway> {
  const { config, digest } = loaded;
  const lock = seat === undefined ? await lockDatabase(config, log) : unlocked;
  opened.adopt(lock, (held) => held.release());
  const metrics = new Metrics({ version, nodeVersion });
  // Before anything is opened that may say it is down.
  metrics.prepare({
    classes: Object.keys(config.rate_limits.classes),
    sinks: config.audit.sinks.map(sinkName),
  });
  const random = Math.random;
  const tracing = await openTracing(config.tracing, { metrics, log, version, replica, random });
  opened.defer(() => tracing?.close());
  const company = { rotates: seat?.leads ?? true, inCompany: seat !== undefined };
  const audit = await openAudit({ config, digest, replica, clock, log, stdout, metrics, ...company });
  opened.defer(() => audit.close());
  const reader = readerOf(config);
  reader?.start();
  opened.defer(() => reader?.close());
  const unrecordedReads = config.audit.unrecorded_reads;
  const recorder = new Recorder({ audit, metrics, clock, log, unrecordedReads, tracing });
  recorder.event('start', version);
  // What a process before this one has left is vouched for at once, and so is that this one is ours.
  void audit.signNow();
  opened.defer(() => recorder.event('stop'));
  const reports = new KeyReports(metrics, log, clock);
  const verified = verifiedCredentials(config, clock);
  const identity = await openIdentity({
    config,
    clock,
    believer: verified,
    lockout: seat?.lockout,
    onRevocationsState: (err) => tellRevocations(log, err),
    onError: (err) => log.warn({ err }, 'identity'),
    onTokenKeysReread: (error) => reports.tokenKeys(error),
  });
  opened.defer(() => identity.close());
  metrics.followVerified(verified.counts, () => identity.revocations?.stalenessMs() ?? 0);
  const redis = await openRedis(config.rate_limits.redis);
  opened.defer(() => redis?.close());
  if (redis !== undefined && identity.revocations !== undefined) pushRevocations(redis, identity.revocations);
  if (seat !== undefined && identity.revocations !== undefined)
    identity.revocations.others = seat.catchUpOthers;
  const owned = seat?.buckets;
  const counting = await openCounting(config, redis, { clock, log, metrics, recorder, owned });
  opened.defer(() => counting.close());
  const tls = openTls(config, { clock, metrics, log });
  opened.defer(() => tls?.identity.close());
  const tunnels = openTunnels(config, (open) => metrics.websocketsOpen(open));
  const state = { ready: false, draining: false };
  const isDraining = () => state.draining;
  const kept = {
    failures: seat?.failures ?? new MemoryBuckets(clock),
    known: new KnownCredentials(),
    keys: sharedKeys(),
    upstreams: sharedUpstreams(metrics),
  };
  /** All that a configuration has of its own; the rest goes on from one to the next. */
  const openGeneration = async (config: Config): Promise<Generation> => {
    await using unfinished = new AsyncDisposableStack();
    const issuers = await openIssuersOf(config, clock, reports, kept.keys);
    unfinished.defer(() => issuers.close());
    const upstreams = openUpstreams(config, kept.upstreams, { clock, metrics, log });
    unfinished.defer(() => upstreams.close());
    const gateway = buildGateway({
      config,
      clock,
      identity,
      issuers,
      recorder,
      tracing,
      verified,
      buckets: counting.buckets,
      failureBuckets: kept.failures,
      known: kept.known,
      upstreams: upstreams.byName,
      tunnels,
      tls,
      version,
      isDraining,
      auditEndpoints: (verifier) =>
        readingEndpoints({ config, reader, audit, replica, verifier, isDraining }),
    });
    const held = unfinished.move();
    return { gateway, close: () => held.disposeAsync() };
  };
  const generations = new Generations(await openGeneration(config), (err) =>
    log.warn({ err }, 'what an older configuration held could not be closed'),
  );
  opened.defer(() => generations.close());
  beforeListening?.();
  const operationsUrl =
    seat === undefined
      ? await openOperations(config, opened, {
          metrics,
          isReady: () => state.ready,
          jwks: () => identity.jwks(),
        })
      : '';
  const traffic = createDownstream(generations, { ...downstreamBounds(config), reports: metrics, tls });
  const sharing = seat === undefined ? 'alone' : 'workers';
  const trafficUrl = await listen(traffic, config.listen, 'listen', sharing);
  const { delay, idle, grace } = config.listen.drain;
  opened.defer(() => drain(traffic, { idleMs: Math.min(idle, grace), graceMs: grace }));
  // node:http no longer knows their sockets, and would wait for them for ever.
  opened.defer(() => tunnels.end(grace));
  const inForce = new ConfigInForce({
    first: loaded,
    generations,
    openGeneration,
    tls,
    verified,
    counting,
    recorder,
    metrics,
    clock,
    log,
  });
  state.ready = true;
  log.info(
    { traffic: trafficUrl, ...(seat === undefined && { operations: operationsUrl }), config_digest: digest },
    'portcullis is listening',
  );
  return {
    trafficUrl,
    operationsUrl,
    metrics,
    identity,
    auditLog: audit,
    died: lock.lost.then(() => lostSentence),
    reload: (next) => inForce.reload(next),
    prepare: (next) => inForce.prepare(next),
    refused: (reasons) => inForce.refused(reasons),
    reopenLogs: () => {
      audit.reopen();
      log.info('the audit log is opened anew');
    },
    fail: (err) => {
      log.fatal({ err }, 'state is in doubt: portcullis ends');
      try {
        recorder.writeDown();
      } finally {
        audit.flushNow();
      }
    },
    close: async () => {
      state.ready = false;
      state.draining = true;
      // Who has lost the database to another gateway takes nothing more, not even for a while.
      await Promise.race([sleep(delay), lock.lost]);
      await opened.disposeAsync();
      log.info('portcullis has stopped');
    },
  };
}

interface Parts {
  readonly config: Config;
  readonly clock: Clock;
  readonly identity: Identity;
  readonly issuers: Issuers;
  readonly verified: VerifiedCredentials;
  readonly recorder: Gateway['recorder'];
  readonly tracing: Tracing | undefined;
  readonly buckets: Buckets;
  readonly failureBuckets: FailureBuckets;
  readonly known: KnownCredentials;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly tunnels: Tunnels;
  readonly tls: DownstreamTls | undefined;
  readonly version: string;
  readonly isDraining: () => boolean;
  readonly auditEndpoints: (verifier: CredentialVerifier) => readonly Endpoint[];
}

/** The gateway of a configuration, from what was opened for it. */
export function buildGateway({
  config,
  clock,
  identity,
  issuers,
  verified,
  recorder,
  tracing,
  buckets,
  failureBuckets,
  known,
  upstreams,
  tunnels,
  tls,
  version,
  isDraining,
  auditEndpoints,
}: Parts): Gateway {
  const failures = new Failures(failureBuckets, { name: 'failures', ...config.auth.failures });
  const policy: ResponsePolicy = {
    security: new SecurityHeaders(config.headers.set),
    cors: new Cors(config.cors.allowed_origins),
    clock,
    stallMs: config.listen.timeouts.stall,
    isDraining,
  };
  const { certificates: believed } = config.auth;
  const certificates =
    believed &&
    new ClientCertificates(believed, clock, (socket) => tls?.identity.isOutdated(socket) === true);
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
      auditEndpoints: auditEndpoints(verifier),
    }),
    authentication: { verifier, verified, failures, known, certificates },
    buckets,
    assertions: identity.assertions,
    policy,
    recorder,
    tunnels,
    trust: trustOf(config.listen.trusted_proxies),
    sampling: tracing?.samples,
  };
}

function verifiedCredentials({ auth }: Config, clock: Clock): VerifiedCredentials {
  const { cache, staleness_max } = auth;
  return new VerifiedCredentials({ clock, entriesMax: cache.entries, stalenessMaxMs: staleness_max });
}

function tellRevocations(log: Logger, err: unknown): void {
  if (err === undefined) log.info('what is revoked is read from the database again');
  else
    log.warn(
      { err },
      'what is revoked cannot be read from the database: known callers go on until auth.staleness_max',
    );
}

async function openIssuersOf(
  { auth }: Config,
  clock: Clock,
  reports: KeyReports,
  shared: SharedKeys,
): Promise<Issuers> {
  reports.prepare(auth.issuers.map(({ name }) => name));
  const [issuers, missing] = await openIssuers({
    issuers: auth.issuers,
    clock,
    onFetch: (name, report) => reports.fetched(name, report),
    shared,
  });
  reports.missingAtStart(missing);
  return issuers;
}
