/** Redis URLs: what they may say, and what is wrong with one, without ever repeating a password. */
import { X509Certificate } from 'node:crypto';
import type { ConnectionOptions } from 'node:tls';
import { readTextFile } from '../config/text-file.ts';

/** A bundle of every public authority is a quarter of it. */
const certificateBytesMax = 1024 ** 2;

/** A URL that cannot be used. What it says holds nothing of the URL, which may have a password in it. */
export class RedisUrlError extends Error {
  /** What is wrong, to stand after the URL's name: `names no host`. */
  readonly fault: string;
  /** What to write instead, as a sentence. */
  readonly hint: string;

  constructor(fault: string, hint: string) {
    super(`the Redis URL ${fault}. ${hint}`);
    this.name = 'RedisUrlError';
    this.fault = fault;
    this.hint = hint;
  }
}

interface RedisHost {
  /** A name or an address (IPv6 without brackets). */
  readonly host: string;
  readonly port: number;
}

interface Credentials {
  /** An ACL user; absent for the user that Redis calls `default`. */
  readonly user: string | undefined;
  readonly password: string | undefined;
}

export interface RedisLocation {
  readonly topology: 'standalone' | 'sentinel' | 'cluster';
  /** One server, or the Sentinels, or some nodes of the cluster (the others are found by asking them). */
  readonly hosts: readonly [RedisHost, ...RedisHost[]];
  readonly credentials: Credentials;
  /** Sentinels have users of their own. */
  readonly sentinelCredentials: Credentials;
  /** What the Sentinels call the master; empty elsewhere. */
  readonly masterName: string;
  /** The number of the database; a cluster has only 0. */
  readonly database: number;
  readonly isTls: boolean;
  /** Files, as the URL names them. */
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

const form =
  'Write one such as redis://user:password@host:6379/0, rediss://… for TLS, redis+sentinel://h1,h2/master or redis+cluster://h1,h2.';

const parameters = ['ca', 'cert', 'key', 'sentinel_user', 'sentinel_password'] as const;
type UrlParameters = Partial<Record<(typeof parameters)[number], string>>;

const defaultPorts = { standalone: 6379, sentinel: 26_379, cluster: 6379 } as const;
const hostsMax = 64;

/** Stricter than any URL parser: what one repairs, another reads differently. */
const redisUrl =
  /^redis(?<tls>s?)(?:\+(?<topology>sentinel|cluster))?:\/\/(?:(?<user>[^:@/?#,]*):(?<password>[^:@/?#]*)@)?(?<hosts>[^@/?#]*)(?:\/(?<path>[^?#]*))?(?:\?(?<query>[^#]*))?$/;

/**
 * Reads a Redis URL; touches no file.
 * @throws RedisUrlError
 */
export function parseRedisUrl(url: string): RedisLocation {
  const parts = redisUrl.exec(url)?.groups;
  if (parts === undefined) {
    throw new RedisUrlError(
      'is not a Redis URL',
      `${form} In a password, : / ? # @ are written as %3A %2F %3F %23 %40; without a user it is :password@.`,
    );
  }
  const topology = (parts.topology ?? 'standalone') as RedisLocation['topology'];
  const query = parametersOf(parts.query ?? '');
  return {
    topology,
    hosts: hostsOf(parts.hosts ?? '', topology),
    credentials: credentialsOf(parts.user, parts.password),
    sentinelCredentials: sentinelCredentialsOf(query, topology),
    ...pathOf(parts.path ?? '', topology),
    isTls: parts.tls === 's',
    ...filesOf(query, parts.tls === 's'),
  };
}

function hostsOf(written: string, topology: RedisLocation['topology']): RedisLocation['hosts'] {
  const [first, ...rest] = written.split(',').map((host) => hostOf(host, defaultPorts[topology]));
  if (first === undefined || rest.length >= hostsMax)
    throw new RedisUrlError(`names more than ${hostsMax} hosts`, 'Name a few of them.');
  if (topology === 'standalone' && rest.length > 0) {
    const hint = 'Write redis+sentinel://h1,h2/master or redis+cluster://h1,h2, or name one host.';
    throw new RedisUrlError('names several hosts of one server', hint);
  }
  return [first, ...rest];
}

function hostOf(written: string, defaultPort: number): RedisHost {
  const match = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]+))(?::(?<port>\d{1,5}))?$/.exec(
    written,
  );
  const host = match?.groups?.v6 ?? match?.groups?.host;
  if (host === undefined)
    throw new RedisUrlError(written === '' ? 'names no host' : 'has a host that is none', form);
  const port = Number(match?.groups?.port ?? defaultPort);
  if (port >= 1 && port <= 65_535) return { host, port };
  throw new RedisUrlError('has a port that is none', 'Write one of 1 to 65535, such as 6379.');
}

function credentialsOf(user: string | undefined, password: string | undefined): Credentials {
  if (user && !password)
    throw new RedisUrlError('names a user without a password', 'Write user:password@ before the host.');
  return { user: user ? decoded(user) : undefined, password: password ? decoded(password) : undefined };
}

function sentinelCredentialsOf(query: UrlParameters, topology: RedisLocation['topology']): Credentials {
  const { sentinel_user: user, sentinel_password: password } = query;
  if (topology !== 'sentinel' && (user ?? password) !== undefined) {
    const hint = 'Remove sentinel_user and sentinel_password, or write redis+sentinel://h1,h2/master.';
    throw new RedisUrlError('has credentials for Sentinels and names none', hint);
  }
  if (user && !password) {
    throw new RedisUrlError('has a sentinel_user without a password', 'Add sentinel_password=…');
  }
  return { user: user || undefined, password: password || undefined };
}

/** `/2` is a database; of Sentinels it is `/master` or `/master/2`; a cluster has neither. */
function pathOf(path: string, topology: RedisLocation['topology']): { masterName: string; database: number } {
  const [first = '', second = '', ...more] = path.split('/').map(decoded);
  if (more.length > 0 || (topology !== 'sentinel' && second !== ''))
    throw new RedisUrlError('has a path that leads nowhere', form);
  if (topology === 'standalone') return { masterName: '', database: databaseOf(first) };
  if (topology === 'cluster') {
    if (first === '' || first === '0') return { masterName: '', database: 0 };
    throw new RedisUrlError(
      'names a database of a cluster, which has only 0',
      'Write nothing after the hosts.',
    );
  }
  if (/^[A-Za-z0-9._-]{1,255}$/.test(first)) return { masterName: first, database: databaseOf(second) };
  const hint = 'Write the name the Sentinels know it by: redis+sentinel://h1,h2/mymaster.';
  throw new RedisUrlError('does not say which master to ask the Sentinels for', hint);
}

function databaseOf(written: string): number {
  if (/^\d{0,5}$/.test(written)) return Number(written);
  throw new RedisUrlError('has a database that is no number', 'Write one such as /0, or nothing.');
}

function filesOf({ ca, cert, key }: UrlParameters, isTls: boolean) {
  if (!isTls && (ca ?? cert ?? key) !== undefined)
    throw new RedisUrlError(
      'names certificates and does not use TLS',
      'Write rediss:// in place of redis://.',
    );
  if ((cert === undefined) !== (key === undefined))
    throw new RedisUrlError('has only one of cert and key', 'A client certificate needs both.');
  return { ca, cert, key };
}

function parametersOf(query: string): UrlParameters {
  const given: UrlParameters = {};
  for (const pair of query.split('&').filter((text) => text !== '')) {
    const [word = '', value = ''] = pair.split('=', 2);
    const name = parameters.find((known) => known === word);
    if (name === undefined) {
      const hint = `After the ? write some of ${parameters.join(', ')}.`;
      throw new RedisUrlError('has a parameter that is not known here', hint);
    }
    if (given[name] !== undefined)
      throw new RedisUrlError(`has the parameter ${name} twice`, 'Write it once.');
    given[name] = decoded(value);
  }
  return given;
}

function decoded(text: string): string {
  let plain: string;
  try {
    plain = decodeURIComponent(text);
  } catch {
    throw new RedisUrlError('has a % that is not followed by two hex digits', 'Write % itself as %25.');
  }
  if (/\p{Cc}/u.test(plain)) throw new RedisUrlError('has a control character in it', 'Remove it.');
  return plain;
}

/** A place for people, without users and passwords: `redis.example:6379`. */
export function shownRedis({ hosts, topology, masterName }: RedisLocation): string {
  const places = hosts
    .map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`)
    .join(',');
  return topology === 'sentinel' ? `${places} (master ${masterName})` : places;
}

/** What is the same for the same Redis, whatever its passwords. */
export function withoutRedisPasswords(url: string): unknown {
  const { credentials, sentinelCredentials, ...rest } = parseRedisUrl(url);
  return { ...rest, user: credentials.user, sentinelUser: sentinelCredentials.user };
}

/** Whether what is sent there can be read on its way. */
export function redisCrossesNetworkInPlainText({ hosts, isTls }: RedisLocation): boolean {
  return !isTls && hosts.some(({ host }) => !/^(?:localhost|::1|127(?:\.\d{1,3}){3})$/.test(host));
}

/**
 * TLS proves that it is the right server: who signed its certificate (`ca`, else the authorities that Node knows)
 * and whose it is (the host as it was named, or as a Sentinel or a cluster's node names it).
 * @throws RedisUrlError for a file that cannot be read
 */
export function redisTlsOptions({ isTls, ca, cert, key }: RedisLocation): ConnectionOptions | undefined {
  if (!isTls) return undefined;
  return {
    ...(ca !== undefined && { ca: certificates(ca) }),
    ...(cert !== undefined && { cert: readNamed('cert', cert) }),
    ...(key !== undefined && { key: readNamed('key', key) }),
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
  };
}

/** A file without a certificate would leave nobody to trust, which shows only as a failed handshake. */
function certificates(file: string): string {
  const text = readNamed('ca', file);
  try {
    new X509Certificate(text);
    return text;
  } catch {
    const hint = 'Name the file with the authority that signed the certificate of the server.';
    throw new RedisUrlError('names a file as ca that holds no certificate in PEM', hint);
  }
}

function readNamed(parameter: string, file: string): string {
  try {
    return readTextFile(file, certificateBytesMax);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    const hint = 'Mount it where this user may read it.';
    throw new RedisUrlError(`names a file as ${parameter} that cannot be read (${code})`, hint);
  }
}
