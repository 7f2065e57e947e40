/** Database URLs: what they may say, and what is wrong with one, without ever repeating a password. */
import { X509Certificate } from 'node:crypto';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { readRegularFile } from './regular-file.ts';

/** A bundle of every public authority is a quarter of it. */
const certificateBytesMax = 1024 ** 2;

/** A URL that cannot be used. What it says holds nothing of the URL, which may have a password in it. */
export class DatabaseUrlError extends Error {
  /** What is wrong, to stand after the URL's name: `names no host`. */
  readonly fault: string;
  /** What to write instead, as a sentence. */
  readonly hint: string;

  constructor(fault: string, hint: string) {
    super(`the database URL ${fault}. ${hint}`);
    this.fault = fault;
    this.hint = hint;
  }
}

const form = 'Write one such as postgres://user:password@host:5432/database.';

interface SqliteLocation {
  readonly kind: 'sqlite';
  /** A file, or `:memory:`. */
  readonly path: string;
}

export interface PostgresLocation {
  readonly kind: 'postgres';
  /** A name, an address (IPv6 without brackets), or the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Absent where the server asks for none, or for a certificate. */
  readonly password: string | undefined;
  readonly database: string;
  readonly sslmode: SslMode;
  /** Files, as the URL names them. */
  readonly sslrootcert: string | undefined;
  readonly sslcert: string | undefined;
  readonly sslkey: string | undefined;
  /** How the server's own lists name this program. */
  readonly applicationName: string | undefined;
}

export type DatabaseLocation = SqliteLocation | PostgresLocation;

/** What libpq calls these, without its `allow` and `prefer`, which whoever stands in between can turn off. */
const sslModes = ['disable', 'require', 'verify-ca', 'verify-full'] as const;
type SslMode = (typeof sslModes)[number];

const parameters = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'host', 'application_name'] as const;
type UrlParameters = Partial<Record<(typeof parameters)[number], string>>;

/**
 * Reads a database URL; touches no file.
 * @throws DatabaseUrlError
 */
export function parseDatabaseUrl(url: string): DatabaseLocation {
  return /^postgres(?:ql)?:/i.test(url) ? parsePostgresUrl(url) : { kind: 'sqlite', path: sqlitePath(url) };
}

/**
 * The file a `sqlite:` URL names. Both `sqlite:./data/x.db` and SQLAlchemy's `sqlite:///./x.db` (relative) and
 * `sqlite:////var/x.db` (absolute) are taken.
 */
function sqlitePath(url: string): string {
  const match = /^sqlite:(?:\/\/\/)?(?<path>[^/].*|\/.*)$/s.exec(url);
  const path = match?.groups?.path;
  if (path === undefined || path.startsWith('//')) {
    throw new DatabaseUrlError(
      'is neither a SQLite nor a PostgreSQL URL',
      'Write one such as sqlite:./data/portcullis.db or postgres://user:password@host:5432/database.',
    );
  }
  return path;
}

/** Stricter than any URL parser: what one repairs, another reads differently. */
const postgresUrl =
  /^postgres(?:ql)?:\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^:@/?#]*))?@)?(?<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._%-]*)(?::(?<port>\d{1,5}))?(?:\/(?<database>[^/?#]*))?(?:\?(?<query>[^#]*))?$/i;

function parsePostgresUrl(url: string): PostgresLocation {
  const parts = postgresUrl.exec(url)?.groups;
  if (parts === undefined) {
    throw new DatabaseUrlError(
      'is not a PostgreSQL URL of one host',
      `${form} In a password, : / ? # @ are written as %3A %2F %3F %23 %40.`,
    );
  }
  const query = parametersOf(parts.query ?? '');
  const host = hostOf(parts.host ?? '', query.host);
  return {
    kind: 'postgres',
    host,
    port: portOf(parts.port),
    user: required(decoded(parts.user ?? ''), 'user'),
    password: parts.password ? decoded(parts.password) : undefined,
    database: required(decoded(parts.database ?? ''), 'database'),
    ...tlsOf(query, host),
    applicationName: query.application_name,
  };
}

function parametersOf(query: string): UrlParameters {
  const given: UrlParameters = {};
  for (const pair of query.split('&').filter((text) => text !== '')) {
    const [word = '', value = ''] = pair.split('=', 2);
    const name = parameters.find((known) => known === word);
    if (name === undefined) {
      const hint = `After the ? write some of ${parameters.join(', ')}.`;
      throw new DatabaseUrlError('has a parameter that is not known here', hint);
    }
    if (given[name] !== undefined)
      throw new DatabaseUrlError(`has the parameter ${name} twice`, 'Write it once.');
    given[name] = decoded(value);
  }
  return given;
}

/** A Unix socket's directory is written as `?host=/run/postgresql` or, with %2F for each /, in the host's place. */
function hostOf(written: string, parameter: string | undefined): string {
  const host = decoded(written).replace(/^\[(.*)\]$/, '$1');
  if (parameter === undefined) return required(host, 'host');
  if (host === '' || host === 'localhost') return required(parameter, 'host');
  throw new DatabaseUrlError('has two hosts', 'Write it before the / or as ?host=, not both.');
}

function portOf(written: string | undefined): number {
  const port = Number(written ?? 5432);
  if (port < 1 || port > 65_535)
    throw new DatabaseUrlError('has a port that is none', 'Write one of 1 to 65535, such as 5432.');
  return port;
}

function tlsOf({ sslmode, sslrootcert, sslcert, sslkey }: UrlParameters, host: string) {
  const mode = sslModes.find((known) => known === (sslmode ?? 'disable'));
  if (mode === undefined) {
    const unsafe = sslmode === 'prefer' || sslmode === 'allow';
    const why = unsafe ? ' (allow and prefer give way to whoever stands in between)' : '';
    throw new DatabaseUrlError(
      `has an sslmode that is not taken${why}`,
      `Write one of ${sslModes.join(', ')}.`,
    );
  }
  const files = sslrootcert ?? sslcert ?? sslkey;
  if (mode === 'disable' && files !== undefined)
    throw new DatabaseUrlError('names certificates and does not use TLS', 'Add sslmode=verify-full.');
  if (mode !== 'disable' && isSocket(host))
    throw new DatabaseUrlError('asks for TLS over a Unix socket, which has none', 'Remove sslmode.');
  if ((sslcert === undefined) !== (sslkey === undefined))
    throw new DatabaseUrlError('has only one of sslcert and sslkey', 'A client certificate needs both.');
  return { sslmode: mode, sslrootcert, sslcert, sslkey };
}

function isSocket(host: string): boolean {
  return host.startsWith('/');
}

function required(text: string, what: string): string {
  if (text !== '' && !/\p{Cc}/u.test(text)) return text;
  throw new DatabaseUrlError(`names no ${what}`, form);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new DatabaseUrlError('has a % that is not followed by two hex digits', 'Write % itself as %25.');
  }
}

/** A place for people, without user and password: `db.example:5432/portcullis`. */
export function shownPlace(location: DatabaseLocation): string {
  if (location.kind === 'sqlite') return location.path;
  const { host, port, database } = location;
  return `${host.includes(':') ? `[${host}]` : host}:${port}/${database}`;
}

/** Whether what is sent there can be read on its way. */
export function crossesNetworkInPlainText(location: DatabaseLocation): boolean {
  if (location.kind === 'sqlite' || location.sslmode !== 'disable' || isSocket(location.host)) return false;
  return !/^(?:localhost|::1|127(?:\.\d{1,3}){3})$/.test(location.host);
}

/**
 * TLS as `sslmode` asks for it (https://www.postgresql.org/docs/current/libpq-ssl.html): `require` encrypts and
 * checks nothing, unless `sslrootcert` is given; `verify-ca` checks who signed the certificate, `verify-full` also
 * whose it is. Without `sslrootcert`, or with `system`, the authorities that Node knows are asked.
 * @throws DatabaseUrlError for a file that cannot be read
 */
export function tlsOptions(location: PostgresLocation) {
  const { sslmode, sslrootcert, sslcert, sslkey, host } = location;
  if (sslmode === 'disable') return false;
  const own = sslrootcert !== undefined && sslrootcert !== 'system';
  return {
    ...(own && { ca: certificates(sslrootcert) }),
    ...(sslcert !== undefined && { cert: readNamed('sslcert', sslcert) }),
    ...(sslkey !== undefined && { key: readNamed('sslkey', sslkey) }),
    rejectUnauthorized: sslmode !== 'require' || own,
    // The driver does not say which host it means where that is an address.
    checkServerIdentity: (_: string, certificate: PeerCertificate) =>
      sslmode === 'verify-full' ? checkServerIdentity(host, certificate) : undefined,
    minVersion: 'TLSv1.2' as const,
  };
}

/** A file without a certificate would leave nobody to trust, which shows only as a failed handshake. */
function certificates(file: string): string {
  const text = readNamed('sslrootcert', file);
  try {
    new X509Certificate(text);
    return text;
  } catch {
    const hint = 'Name the file with the authority that signed the certificate of the server.';
    throw new DatabaseUrlError('names a file as sslrootcert that holds no certificate in PEM', hint);
  }
}

function readNamed(parameter: string, file: string): string {
  try {
    return new TextDecoder().decode(readRegularFile(file, certificateBytesMax));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
    const hint = 'Mount it where this user may read it.';
    throw new DatabaseUrlError(`names a file as ${parameter} that cannot be read (${code})`, hint);
  }
}
