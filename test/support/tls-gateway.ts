/** A gateway whose traffic port speaks TLS, and clients of it that node:tls makes. */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Agent, type RequestOptions, request } from 'node:https';
import { join } from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { type Authority, makeAuthority, type Signed } from './certificates.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from './gateway.ts';

export interface TlsGateway extends TestGateway {
  /** Signed the server's certificate. */
  readonly authority: Authority;
  readonly files: { readonly cert: string; readonly key: string; readonly clientCa: string };
  readonly port: number;
}

export interface TlsGatewayOptions extends TestGatewayOptions {
  /** Further keys of `listen.tls`, in flow style: `client_certificates: required`. */
  readonly tls?: string;
  /** Further keys of `listen`. */
  readonly listen?: string;
  /** `auth.certificates`, in flow style. */
  readonly certificates?: string | undefined;
  /** Puts the first pair where the gateway reads it; simply two files unless given. */
  readonly place?: (files: { cert: string; key: string }, signed: Signed) => void;
  /** The authority of clients. */
  readonly clientCa?: Authority;
}

export async function startTlsGateway(options: TlsGatewayOptions): Promise<TlsGateway> {
  const { directory, tls, certificates, clientCa, listen = '', place = writePair } = options;
  const authority = makeAuthority(directory, 'server');
  const file = (name: string) => join(directory, name);
  const files = { cert: file('tls.crt'), key: file('tls.key'), clientCa: file('client-ca.crt') };
  place(files, authority.sign(serverNames));
  if (clientCa !== undefined) writeFileSync(files.clientCa, clientCa.ca);
  const keys = [
    `cert: ${files.cert}, key: ${files.key}`,
    ...(clientCa === undefined ? [] : [`client_ca: ${files.clientCa}`]),
    ...(tls === undefined ? [] : [tls]),
  ];
  const yaml = readFileSync('gateway.yaml', 'utf8')
    .replace(/^listen: \{/m, `listen: { ${listen} tls: { ${keys.join(', ')} },`)
    .replace(
      /^ {2}issuers: \[\]$/m,
      `$&${certificates === undefined ? '' : `\n  certificates: ${certificates}`}`,
    );
  const gateway = await startTestGateway({ ...options, yaml });
  return { ...gateway, authority, files, port: Number(new URL(gateway.trafficUrl).port) };
}

/** What a certificate of the server says it is for. */
export const serverNames = 'DNS:localhost,IP:127.0.0.1';

export function writePair(files: { cert: string; key: string }, { cert, key }: Signed): void {
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
}

export interface TlsAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  readonly socket: TLSSocket;
}

/** One request; the server's certificate has to be its authority's. */
export function call(
  { port, authority }: TlsGateway,
  path: string,
  options: RequestOptions & { agent?: Agent | false } = {},
): Promise<TlsAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port, path, ca: authority.ca, agent: false, ...options },
      (response) => {
        let body = '';
        // Its socket goes back to an agent at the end.
        const socket = response.socket as TLSSocket;
        response.setEncoding('utf8');
        response.on('data', (data) => {
          body += data;
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body, socket }),
        );
      },
    );
    sent.on('error', reject);
    sent.end();
  });
}

/** A handshake alone. @throws what node:tls says when it fails */
export function shakeHands(
  { port, authority }: TlsGateway,
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, ca: authority.ca, ...options }, () => resolve(socket));
    socket.on('error', reject);
  });
}
