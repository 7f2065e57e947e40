/** What the traffic port proves itself with: read from files, and read anew whenever they change. */
import type { Server as HttpsServer, ServerOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import type { Clock } from '../clock.ts';
import { readTextFile } from '../config/text-file.ts';
import type { TlsConfig } from '../config/tls-schema.ts';
import { whyUnreadable } from '../config/variables.ts';
import { type FileWatch, watchFiles } from '../config/watch.ts';
import { fileSettleMs } from '../limits.ts';
import {
  type JudgedCertificate,
  judgeCertificate,
  TlsFileError,
  type TlsPem,
  whyNotValid,
} from './certificate-files.ts';

export interface TlsReports {
  /** @param validUntilMs wall time at which the certificate in use ends */
  taken(validUntilMs: number): void;
  /** New files cannot be used, so that the old ones stay. @param why a sentence that names the file and nothing of the key */
  refused(why: string): void;
}

/** Files that cannot be used: a sentence for whoever starts the program. */
export class TlsIdentityError extends Error {}

export class ServerIdentity {
  #config: TlsConfig;
  readonly #clock: Clock;
  readonly #reports: TlsReports;
  #watch: FileWatch;
  #pem: TlsPem;
  #judged: JudgedCertificate;
  #server: HttpsServer | undefined;
  /** Changes with the authorities of clients; by it connections are told that began under others. */
  #era = 0;
  readonly #eras = new WeakMap<Duplex, number>();
  #retry: NodeJS.Timeout | undefined;
  /** What the last rereading said, so that one fault is told once. */
  #said = '';

  /** @throws TlsIdentityError when the files cannot be used at all */
  constructor(config: TlsConfig, clock: Clock, reports: TlsReports) {
    this.#config = config;
    this.#clock = clock;
    this.#reports = reports;
    [this.#pem, this.#judged] = read(config);
    reports.taken(this.#judged.validUntil);
    this.#watch = this.#watched();
  }

  /**
   * Another configuration: other files, perhaps.
   * @throws TlsIdentityError when they cannot be used, and all stays as it was
   */
  follow(config: TlsConfig): void {
    const [pem, judged] = read(config);
    const isOther = config.min_version !== this.#config.min_version || !isSame(pem, this.#pem);
    if (isOther) this.#take(pem, judged, config);
    this.#config = config;
    this.#watch.close();
    this.#watch = this.#watched();
  }

  #watched(): FileWatch {
    const { cert, key, client_ca } = this.#config;
    const files = [cert, key, client_ca].filter((file) => file !== undefined);
    return watchFiles(files, () => this.#reread(false));
  }

  get clientCertificates(): TlsConfig['client_certificates'] {
    return this.#config.client_certificates;
  }

  /** Why clients refuse the certificate in use at this time; `undefined` while they do not. */
  notValid(): string | undefined {
    return whyNotValid(this.#judged, this.#clock.wallMs());
  }

  /** For `https.createServer`. */
  serverOptions(): ServerOptions {
    const asks = this.#config.client_certificates;
    return {
      ...this.#judged.context,
      requestCert: asks !== 'none',
      // Judged in `handshakes.ts`, where who is refused can be told why.
      rejectUnauthorized: false,
      handshakeTimeout: this.#config.handshake_timeout,
      ALPNProtocols: ['http/1.1'],
    };
  }

  /** A connection whose handshake is done. */
  admit(socket: Duplex): void {
    this.#eras.set(socket, this.#era);
  }

  /** Whether the authorities of clients have changed since its handshake: its next answer is to be its last. */
  isOutdated(socket: Duplex): boolean {
    return this.#eras.get(socket) !== this.#era;
  }

  /** The server whose new connections follow what is read from now on. Open ones go on with what they began with. */
  serve(server: HttpsServer): void {
    this.#server = server;
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#watch.close();
  }

  /** The two files are not always changed at once: what does not fit together is looked at once more before it is told. */
  #reread(again: boolean): void {
    clearTimeout(this.#retry);
    try {
      const [pem, judged] = read(this.#config);
      if (!isSame(pem, this.#pem)) this.#take(pem, judged, this.#config);
      else if (this.#said !== '') this.#reports.taken(this.#judged.validUntil);
      this.#said = '';
    } catch (error) {
      if (!(error instanceof TlsIdentityError)) throw error;
      if (error.message === this.#said) return;
      if (!again) {
        this.#retry = setTimeout(() => this.#reread(true), fileSettleMs).unref();
        return;
      }
      this.#said = error.message;
      this.#reports.refused(error.message);
    }
  }

  #take(pem: TlsPem, judged: JudgedCertificate, { cert }: TlsConfig): void {
    const why = whyNotValid(judged, this.#clock.wallMs());
    if (why !== undefined && this.notValid() === undefined) throw new TlsIdentityError(`${cert} ${why}`);
    if (pem.clientCa !== this.#pem.clientCa) this.#era += 1;
    this.#server?.setSecureContext(judged.context);
    this.#pem = pem;
    this.#judged = judged;
    this.#reports.taken(judged.validUntil);
  }
}

function read(config: TlsConfig): [TlsPem, JudgedCertificate] {
  const { cert, key, client_ca } = config;
  const pem = {
    cert: readPem(cert),
    key: readPem(key),
    clientCa: client_ca === undefined ? undefined : readPem(client_ca),
  };
  try {
    return [pem, judgeCertificate(pem, config)];
  } catch (error) {
    if (!(error instanceof TlsFileError)) throw error;
    throw new TlsIdentityError(`${config[error.file]} ${error.message}`);
  }
}

function readPem(file: string): string {
  try {
    return readTextFile(file);
  } catch (error) {
    throw new TlsIdentityError(`${file} cannot be read: ${whyUnreadable(error)}`);
  }
}

function isSame(one: TlsPem, other: TlsPem): boolean {
  return one.cert === other.cert && one.key === other.key && one.clientCa === other.clientCa;
}
