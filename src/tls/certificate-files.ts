/** A certificate with its key, and the authorities of clients, from PEM: read whole and judged before any use. */
import { constants, createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import type { WallMs } from '../clock.ts';
import type { TlsConfig } from '../config/tls-schema.ts';

/** The setting whose file is at fault. */
export type TlsFile = 'cert' | 'key' | 'client_ca';

/** Says what is wrong with a file and what to do, and nothing of the key. */
export class TlsFileError extends Error {
  readonly file: TlsFile;
  readonly hint: string;

  /** @param message words that follow the file's name */
  constructor(file: TlsFile, message: string, hint: string) {
    super(message);
    this.file = file;
    this.hint = hint;
  }
}

export interface TlsPem {
  readonly cert: string;
  readonly key: string;
  readonly clientCa: string | undefined;
}

export interface JudgedCertificate {
  /** What `node:tls` takes. */
  readonly context: SecureContextOptions;
  /** Of the server's own certificate; an old root behind it is nobody's trouble. */
  readonly validFrom: WallMs;
  readonly validUntil: WallMs;
}

/**
 * What every connection of the traffic port may use: forward secrecy and authenticated encryption only (RFC 9325 §4.2),
 * and no renegotiation, by which a client makes the server work (CVE-2011-1473). Node does not compress.
 */
const ciphers = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** @throws TlsFileError */
export function judgeCertificate(
  { cert, key, clientCa }: TlsPem,
  { min_version }: Pick<TlsConfig, 'min_version'>,
): JudgedCertificate {
  const [own] = certificatesOf('cert', cert);
  if (own?.checkPrivateKey(privateKeyOf(key)) !== true) {
    const hint =
      "Write the key that the certificate was made for, and put the server's own certificate first.";
    throw new TlsFileError('key', 'is not the key of the certificate in cert', hint);
  }
  if (clientCa !== undefined) certificatesOf('client_ca', clientCa);
  const context: SecureContextOptions = {
    cert,
    key,
    ...(clientCa !== undefined && { ca: clientCa }),
    minVersion: `TLSv${min_version}`,
    maxVersion: 'TLSv1.3',
    ciphers,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
  try {
    createSecureContext(context);
  } catch (error) {
    const hint = 'Use P-256, or RSA of 2048 bits or more, signed with SHA-256.';
    throw new TlsFileError('cert', `is not taken by TLS${reasonOf(error)}`, hint);
  }
  return {
    context,
    validFrom: own.validFromDate.getTime() as WallMs,
    validUntil: own.validToDate.getTime() as WallMs,
  };
}

/** OpenSSL's short reason (`ee key too small`), which says nothing of the key itself. */
function reasonOf(error: unknown): string {
  const reason = error instanceof Error && 'reason' in error ? error.reason : undefined;
  return typeof reason === 'string' && /^[a-z0-9 _-]{1,64}$/i.test(reason) ? `: ${reason}` : '';
}

const certificateHint = 'Write the path of a file with the PEM of one or more certificates.';

function certificatesOf(file: TlsFile, pem: string): X509Certificate[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new TlsFileError(file, 'holds no certificate', certificateHint);
  // A file cut off in the middle of one would be taken without it.
  if ((pem.match(/-----BEGIN/g) ?? []).length !== (pem.match(/-----END/g) ?? []).length)
    throw new TlsFileError(file, 'is cut off', certificateHint);
  return found.map((one) => parsed(file, one));
}

function parsed(file: TlsFile, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new TlsFileError(file, 'holds a certificate that is damaged', certificateHint);
  }
}

/** OpenSSL's messages say nothing that helps, and could say something of the key. */
function privateKeyOf(pem: string): KeyObject {
  const hint = 'Write the path of a file with a private key in PEM, not encrypted.';
  if (/-----BEGIN ENCRYPTED|^Proc-Type: 4,ENCRYPTED/m.test(pem))
    throw new TlsFileError('key', 'is encrypted, and nobody is there to give its passphrase', hint);
  try {
    return createPrivateKey(pem);
  } catch {
    throw new TlsFileError('key', 'holds no private key in PEM', hint);
  }
}

/** Whether clients accept it now. */
export function whyNotValid({ validFrom, validUntil }: JudgedCertificate, nowMs: number): string | undefined {
  if (nowMs >= validUntil) return `has expired (${new Date(validUntil).toISOString()})`;
  if (nowMs < validFrom) return `is not valid yet (from ${new Date(validFrom).toISOString()})`;
  return undefined;
}
