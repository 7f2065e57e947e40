/**
 * The way from a connection to HTTP on a port that speaks TLS. Whoever speaks plain HTTP here is told so in plain text,
 * on the socket below; whose certificate is refused is told over TLS, and no byte of theirs reaches the HTTP parser.
 */
import type { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { type Reason, Refusal } from '../errors.ts';

/** Closed, so that a metric's label stays bounded. */
export const handshakeFaults = ['plain_text', 'timeout', 'certificate', 'left', 'protocol'] as const;
export type HandshakeFault = (typeof handshakeFaults)[number];

type CertificatesAsked = 'none' | 'optional' | 'required';

export interface HandshakeGuard {
  handshakeFailed(fault: HandshakeFault): void;
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** HTTP begins. @param plain the connection that it is on */
  admit(secure: TLSSocket, plain: Socket): void;
  /** Records it and answers in what is written to `socket`, then closes it. */
  refuse(socket: Socket, refusal: Refusal): void;
}

export function guardHandshakes(
  server: HttpsServer,
  certificates: CertificatesAsked,
  { handshakeFailed, wallMs, admit, refuse }: HandshakeGuard,
): void {
  /** By both ends, since the error of a handshake does not say which socket it was on. */
  const shaking = new Map<string, Socket>();
  server.on('connection', (socket: Socket) => {
    const ends = endsOf(socket);
    shaking.set(ends, socket);
    socket.once('close', () => shaking.delete(ends));
  });
  server.on('tlsClientError', (error: NodeJS.ErrnoException, secure) => {
    const fault = faultOf(error);
    handshakeFailed(fault);
    const socket = shaking.get(endsOf(secure));
    if (fault === 'plain_text' && socket !== undefined) refuse(socket, new Refusal('http_on_tls_port'));
    else secure.destroy();
  });
  const speakHttp = server.listeners('secureConnection');
  server.removeAllListeners('secureConnection');
  server.on('secureConnection', (secure) => {
    const plain = shaking.get(endsOf(secure));
    shaking.delete(endsOf(secure));
    if (plain === undefined) return void secure.destroy();
    const reason = certificates === 'none' ? undefined : whyRefused(secure, certificates, wallMs());
    if (reason === undefined) {
      admit(secure, plain);
      for (const speak of speakHttp) speak.call(server, secure);
      return;
    }
    handshakeFailed('certificate');
    secure.on('error', () => secure.destroy());
    secure.resume();
    refuse(secure, new Refusal('certificate_refused', { reason }));
  });
}

function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function faultOf({ code }: NodeJS.ErrnoException): HandshakeFault {
  switch (code) {
    case 'ERR_SSL_HTTP_REQUEST':
      return 'plain_text';
    case 'ERR_TLS_HANDSHAKE_TIMEOUT':
      return 'timeout';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'left';
    default:
      return 'protocol';
  }
}

function whyRefused(
  secure: TLSSocket,
  certificates: 'optional' | 'required',
  nowMs: number,
): Reason | undefined {
  const certificate = secure.getPeerX509Certificate();
  if (certificate === undefined) return certificates === 'required' ? 'missing' : undefined;
  // A resumed session was verified when it began.
  if (nowMs >= certificate.validToDate.getTime()) return 'expired';
  if (secure.authorized) return undefined;
  // Node says the code of OpenSSL's verification here, whatever its types say.
  const why: unknown = secure.authorizationError;
  if (why === 'CERT_HAS_EXPIRED') return 'expired';
  return why === 'CERT_NOT_YET_VALID' ? 'not_yet_valid' : 'untrusted_certificate';
}

/** Whether an error of a connection is one of TLS, during the handshake or after it. */
export function isTlsFault({ code = '' }: NodeJS.ErrnoException): boolean {
  return code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_');
}

/** Whether what the HTTP parser could not read is the start of a TLS handshake (RFC 8446 §5.1). */
export function isClientHello({ rawPacket }: { rawPacket?: Uint8Array }): boolean {
  return rawPacket !== undefined && rawPacket[0] === 0x16 && rawPacket[1] === 0x03;
}
