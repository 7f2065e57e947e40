/** Every option of ioredis that matters, written out: its defaults hang in an outage and resend what was sent. */
import { Cluster, type CommonRedisOptions, Redis } from 'ioredis';
import { endConnectionsThatTalkNonsense } from './nonsense.ts';
import { type RedisLocation, redisTlsOptions } from './url.ts';

endConnectionsThatTalkNonsense();

/** One connection, from the first SYN (and the TLS handshake) on. */
const connectTimeoutMs = 2_000;
/** The answer to any one command, those of the handshake included; whoever waits for less time keeps a clock of its own. */
const commandTimeoutMs = 1_000;
/** A connection on which an answer is due for so long is given up. */
const silenceMs = 3_000;
/** Between two tries to connect: doubled each time, from the one to the other, half of it by chance. */
const retryMinMs = 50;
const retryMaxMs = 2_000;
/** How often a cluster is asked who has which slot, beside the times when it says so itself. */
const slotsIntervalMs = 5_000;

/** By chance, so that a thousand replicas do not come back at once. */
function retryDelayMs(attempt: number): number {
  const delayMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(attempt, 16));
  return delayMs * (0.5 + Math.random() / 2);
}

/**
 * A client of the whole, whatever its topology. It connects at once, and again for ever; it says what it sees by
 * its events.
 * @param connectionName how the server's own list of clients names it
 */
export function openClient(location: RedisLocation, connectionName: string): Redis | Cluster {
  const options = optionsOf(location, connectionName);
  const hosts = [...location.hosts];
  if (location.topology === 'cluster') return openCluster(hosts, options);
  if (location.topology === 'sentinel') return openBehindSentinels(location, options);
  return new Redis({ ...options, ...location.hosts[0], db: location.database });
}

/**
 * A client of one node: what is published anywhere in a cluster can be heard at each of its nodes. When the node
 * cannot be reached, the next one is tried.
 */
export function openListener(location: RedisLocation, connectionName: string): Redis {
  const options = optionsOf(location, connectionName);
  if (location.topology === 'sentinel') return openBehindSentinels(location, options);
  const { hosts } = location;
  const listener: Redis = new Redis({
    ...options,
    ...hosts[0],
    db: location.database,
    retryStrategy: (attempt) => {
      // The connector reads these at every connection.
      Object.assign(listener.options, hosts[attempt % hosts.length]);
      return retryDelayMs(attempt);
    },
  });
  return listener;
}

function optionsOf(location: RedisLocation, connectionName: string) {
  const { credentials } = location;
  const tls = redisTlsOptions(location);
  return {
    ...(credentials.user !== undefined && { username: credentials.user }),
    ...(credentials.password !== undefined && { password: credentials.password }),
    ...(tls && { tls }),
    connectionName,
    connectTimeout: connectTimeoutMs,
    commandTimeout: commandTimeoutMs,
    socketTimeout: silenceMs,
    keepAlive: 10_000,
    noDelay: true,
    // What cannot be sent now is refused now; what was sent is never sent again: a second take charges twice.
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    retryStrategy: retryDelayMs,
    enableReadyCheck: true,
    maxLoadingRetryTime: 1_000,
    // Done anew by who listens, at every connection: here nobody would catch it where it fails.
    autoResubscribe: false,
    protocol: 3,
    replyMapping: 'legacy',
    disableClientInfo: true,
  } as const satisfies CommonRedisOptions;
}

type Options = ReturnType<typeof optionsOf>;

function openBehindSentinels(location: RedisLocation, options: Options): Redis {
  const { sentinelCredentials: sentinel, masterName, hosts, database } = location;
  const tls = redisTlsOptions(location);
  return new Redis({
    ...options,
    sentinels: [...hosts],
    name: masterName,
    role: 'master',
    db: database,
    ...(sentinel.user !== undefined && { sentinelUsername: sentinel.user }),
    ...(sentinel.password !== undefined && { sentinelPassword: sentinel.password }),
    ...(tls && { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: retryDelayMs,
    sentinelReconnectStrategy: retryDelayMs,
    sentinelCommandTimeout: commandTimeoutMs,
    // A frozen master closes no connection: that another one took over is heard from the Sentinels.
    failoverDetector: true,
    // So does a master that has become a replica, and it closes none either.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    updateSentinels: true,
  });
}

function openCluster(hosts: Array<{ host: string; port: number }>, options: Options): Cluster {
  const { retryStrategy: _, enableOfflineQueue, ...redisOptions } = options;
  return new Cluster(hosts, {
    redisOptions,
    enableOfflineQueue,
    clusterRetryStrategy: retryDelayMs,
    clusterNodeRetryStrategy: null,
    enableReadyCheck: true,
    scaleReads: 'master',
    maxRedirections: 4,
    // MOVED and ASK were not carried out, and are followed at once. Nothing else is sent a second time.
    retryDelayOnMoved: 0,
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    slotsRefreshTimeout: commandTimeoutMs,
    slotsRefreshInterval: slotsIntervalMs,
    // Names stay names, since certificates are made out to them.
    dnsLookup: (host, found) => found(null, host),
  });
}
