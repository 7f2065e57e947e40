/** Whom the certificate of a TLS client stands for, by the names that its authority has written into it. */
import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Clock } from '../clock.ts';
import type { CertificatesConfig } from '../config/tls-schema.ts';
import type { Principal } from '../exchange.ts';
import { externalSubjectCharsMax } from '../limits.ts';
import { permissionsOfWords } from './claim-permissions.ts';
import { invalid } from './claims.ts';

/** What a connection's certificate says; judged once a connection, though its end is looked at with every request. */
interface Judged {
  /** Absent where it has no name that could be a subject's. */
  readonly principal: Principal | undefined;
  readonly validUntil: number;
}

export class ClientCertificates {
  readonly #config: CertificatesConfig;
  readonly #clock: Clock;
  readonly #isOutdated: (socket: Socket) => boolean;
  readonly #judged = new WeakMap<Socket, Judged | 'none'>();

  /** @param isOutdated whether the authorities of clients are others by now than at the connection's handshake */
  constructor(config: CertificatesConfig, clock: Clock, isOutdated: (socket: Socket) => boolean) {
    this.#config = config;
    this.#clock = clock;
    this.#isOutdated = isOutdated;
  }

  /** Whether the client of this connection has sent one that its authority has signed; others have no connection. */
  isPresented(socket: Socket): boolean {
    return this.#judgedOf(socket) !== 'none';
  }

  /** @throws Refusal `invalid_credential` with its reason; of a connection without a certificate too */
  principalOf(socket: Socket): Principal {
    const judged = this.#judgedOf(socket);
    if (judged === 'none') throw invalid('missing');
    if (judged.principal === undefined) throw invalid('malformed');
    if (this.#clock.wallMs() >= judged.validUntil) throw invalid('expired');
    return judged.principal;
  }

  /**
   * For who goes on for long on this connection. Another handshake tells whether the authorities of now sign for it too.
   * @throws Refusal `invalid_credential` once they are others
   */
  requireCurrent(socket: Socket): void {
    if (this.#isOutdated(socket)) throw invalid('untrusted_certificate');
  }

  #judgedOf(socket: Socket): Judged | 'none' {
    const judged = this.#judged.get(socket) ?? this.#judge(socket);
    this.#judged.set(socket, judged);
    return judged;
  }

  #judge(socket: Socket): Judged | 'none' {
    if (!(socket instanceof TLSSocket) || !socket.authorized) return 'none';
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return 'none';
    const names = namesOf(certificate.subjectAltName ?? '');
    return {
      principal: names && this.#principal(names, certificate),
      validUntil: certificate.validToDate.getTime(),
    };
  }

  /** The authority vouches for every name, so each may be one that permissions are given to. */
  #principal(names: Names, certificate: X509Certificate): Principal {
    const { name, permissions } = this.#config;
    const mapped = permissions.names.flatMap(([san, words]) => (names.all.has(san) ? words : []));
    return {
      kind: 'external',
      subject: `${name}:${names.first}`,
      authType: 'Certificate',
      permissions: permissionsOfWords([...permissions.grant, ...mapped]),
      tokenId: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    };
  }
}

interface Names {
  /** The URI, else the first DNS name. */
  readonly first: string;
  readonly all: ReadonlySet<string>;
}

/**
 * The URI and DNS names of a `subjectAltName` as node:crypto writes it: `URI:spiffe://a/b, DNS:c`. A name with a
 * comma, a quote or a control character comes quoted (CVE-2021-44532), and none such is taken: `undefined`, as for a
 * certificate with two URIs, which SPIFFE refuses (X509-SVID §2), or with no name at all.
 */
export function namesOf(subjectAltName: string): Names | undefined {
  if (subjectAltName.includes('"')) return undefined;
  const entries = subjectAltName.split(', ');
  const uris = valuesOf(entries, 'URI:', isUri);
  const dns = valuesOf(entries, 'DNS:', isDnsName)?.map((name) => name.toLowerCase());
  if (uris === undefined || dns === undefined || uris.length > 1) return undefined;
  const [first] = [...uris, ...dns];
  return first === undefined ? undefined : { first, all: new Set([...uris, ...dns]) };
}

function valuesOf(
  entries: readonly string[],
  prefix: string,
  isGood: (value: string) => boolean,
): string[] | undefined {
  const values = entries
    .filter((entry) => entry.startsWith(prefix))
    .map((entry) => entry.slice(prefix.length));
  return values.every((value) => value.length <= externalSubjectCharsMax && isGood(value))
    ? values
    : undefined;
}

function isUri(value: string): boolean {
  return /^[a-z][a-z0-9+.-]*:[\x21-\x7e]+$/i.test(value);
}

/** No wildcard: `*.example.org` is many, and nobody. */
function isDnsName(value: string): boolean {
  return /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$/i.test(value);
}
