/** Where an issuer's JWK Set comes from: an address, an address that discovery names, or a file. */
import { readTextFile } from '../config/text-file.ts';
import { wholeUndici } from '../http/undici.ts';
import { jwksBytesMax, jwksDepthMax, keyFetchTimeoutMs } from '../limits.ts';
import { parseStrictJson, StrictJsonError } from './strict-json.ts';

/** What can go wrong on the way to a JWK Set; closed, for it is a metric's label. */
export const fetchFaults = [
  'unreachable',
  'timeout',
  'redirect',
  'status',
  'too_large',
  'not_json',
  'wrong_issuer',
  'not_https',
  'file',
] as const;

export class KeyFetchError extends Error {
  readonly fault: (typeof fetchFaults)[number];

  /** @param message a sentence for the log, without what was answered */
  constructor(fault: KeyFetchError['fault'], message: string) {
    super(message);
    this.fault = fault;
  }
}

export interface Transport {
  /** PEM of the authorities to believe instead of the system's; read anew at each fetch. */
  readonly caFile: string | undefined;
  /** Holds a bearer token for the key endpoint; read anew at each fetch, for kubelet replaces it. */
  readonly tokenFile: string | undefined;
  /** Whether plain http is taken from elsewhere than this machine. */
  readonly allowHttp: boolean;
}

/** Gives the text of a JWK Set. @throws KeyFetchError */
export type KeySource = () => Promise<string>;

export function fileSource(path: string): KeySource {
  return async () => readFile(path, 'the JWK Set', jwksBytesMax);
}

export function addressSource(url: string, transport: Transport): KeySource {
  return () => fetchText(url, transport);
}

/** OpenID Connect Discovery §4: the document names the address, and must be this issuer's own (§4.3). */
export function discoverySource(issuer: string, transport: Transport): KeySource {
  const documentUrl = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  return async () => {
    const jwksUri = jwksUriOf(await fetchText(documentUrl, transport), issuer);
    requireSafe(jwksUri, transport);
    // The token is for the issuer; another host that the document names has no business with it.
    const isOwn = jwksUri.origin === new URL(documentUrl).origin;
    return fetchText(jwksUri.href, isOwn ? transport : { ...transport, tokenFile: undefined });
  };
}

function jwksUriOf(text: string, issuer: string): URL {
  const document = parsed(text);
  if (document.issuer !== issuer) {
    throw new KeyFetchError(
      'wrong_issuer',
      'the discovery document is of another issuer than the configured one',
    );
  }
  const { jwks_uri: jwksUri } = document;
  if (typeof jwksUri !== 'string' || !URL.canParse(jwksUri)) {
    throw new KeyFetchError('not_json', 'the discovery document names no jwks_uri');
  }
  return new URL(jwksUri);
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value = parseStrictJson(text, jwksDepthMax);
    if (typeof value === 'object' && value !== null) return { ...value };
  } catch (error) {
    if (!(error instanceof StrictJsonError)) throw error;
  }
  throw new KeyFetchError('not_json', 'the discovery document is not JSON');
}

/** Keys that come over plain http are whoever's stands in between. */
function requireSafe(url: URL, { allowHttp }: Transport): void {
  if (url.protocol === 'https:' || (url.protocol === 'http:' && (allowHttp || isLoopback(url.hostname))))
    return;
  throw new KeyFetchError('not_https', 'the discovery document names a jwks_uri that is not https');
}

/** Whether a host of a URL is this machine. */
export function isLoopback(hostname: string): boolean {
  return /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/.test(hostname);
}

/** One GET, bounded in time and size, that follows nobody elsewhere. */
async function fetchText(url: string, { caFile, tokenFile }: Transport): Promise<string> {
  const ca = caFile === undefined ? undefined : readFile(caFile, 'ca_file');
  const bearer = tokenFile === undefined ? undefined : readBearer(tokenFile);
  const { Agent, request } = wholeUndici();
  const agent = new Agent({
    // Written out, for NODE_TLS_REJECT_UNAUTHORIZED must not be able to let anyone give us keys.
    connect: { timeout: keyFetchTimeoutMs, rejectUnauthorized: true, ...(ca !== undefined && { ca }) },
    maxResponseSize: jwksBytesMax,
    allowH2: false,
  });
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher: agent,
      headers: {
        accept: 'application/json',
        ...(bearer !== undefined && { authorization: `Bearer ${bearer}` }),
      },
      signal: AbortSignal.timeout(keyFetchTimeoutMs),
    });
    requireOk(statusCode);
    requireNotHtml(headers['content-type']);
    return await body.text();
  } catch (error) {
    throw error instanceof KeyFetchError ? error : new KeyFetchError(...faultOf(error));
  } finally {
    await agent.destroy();
  }
}

function requireOk(status: number): void {
  if (status >= 300 && status < 400) {
    throw new KeyFetchError(
      'redirect',
      `answered ${status}, which leads elsewhere; name the address it leads to`,
    );
  }
  if (status !== 200) throw new KeyFetchError('status', `answered ${status}`);
}

/** A log-in page or an error page: said as what it is, before the parser says something less helpful. */
function requireNotHtml(contentType: string | string[] | undefined): void {
  if (/html/i.test(String(contentType))) throw new KeyFetchError('not_json', 'answered HTML, not JSON');
}

function faultOf(error: unknown): [KeyFetchError['fault'], string] {
  const { errors } = wholeUndici();
  if (error instanceof errors.ResponseExceededMaxSizeError) {
    return ['too_large', `answered more than ${jwksBytesMax} bytes`];
  }
  if (
    error instanceof Error &&
    (error.name === 'TimeoutError' || error instanceof errors.ConnectTimeoutError)
  ) {
    return ['timeout', `did not answer within ${keyFetchTimeoutMs} ms`];
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code';
  return ['unreachable', `cannot be reached (${code})`];
}

function readBearer(path: string): string {
  const token = readFile(path, 'token_file').trim();
  if (!/^[\x21-\x7e]+$/.test(token)) throw new KeyFetchError('file', 'token_file holds no token');
  return token;
}

function readFile(path: string, what: string, bytesMax?: number): string {
  try {
    return readTextFile(path, bytesMax);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code';
    throw new KeyFetchError('file', `${what} cannot be read (${code})`);
  }
}
