/**
 * The head of a request, checked on `rawHeaders`: node:http hides a second Host, Authorization or Content-Type
 * behind the first, so only the raw list shows what another parser would see.
 */
import type { IncomingMessage } from 'node:http';
import { Refusal } from '../errors.ts';

/** Headers whose second copy another parser might prefer. */
const singletons = new Set([
  'host',
  'authorization',
  'x-api-key',
  'content-length',
  'content-type',
  'content-encoding',
  'transfer-encoding',
  'expect',
  'origin',
]);

/** `reg-name`, IPv4 or bracketed IPv6, with an optional port (RFC 9110 §7.2). */
const hostValue = /^(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** What a head may hold; its bytes are the parser's to count. */
export interface HeadLimits {
  /** Header lines. */
  readonly headersMax: number;
  /** Bytes of the request target. */
  readonly targetBytesMax: number;
}

/**
 * Refuses a head that two parsers could read differently.
 * @throws `version_not_supported`, `headers_too_large`, `repeated_header`, `ambiguous_framing`, `malformed_request`
 */
export function checkHead(request: IncomingMessage, { headersMax }: HeadLimits): void {
  const { httpVersion, rawHeaders } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') throw new Refusal('version_not_supported');
  if (rawHeaders.length > 2 * headersMax) throw new Refusal('headers_too_large');
  const seen = singletonValues(rawHeaders);
  checkHost(seen.get('host'), httpVersion);
  checkFraming(seen.get('transfer-encoding'), seen.has('content-length'), httpVersion);
}

function singletonValues(rawHeaders: readonly string[]): Map<string, string> {
  const seen = new Map<string, string>();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    if (singletons.has(name)) {
      if (seen.has(name))
        throw new Refusal('repeated_header', { detail: `The header ${name} may stand once.` });
      seen.set(name, rawHeaders[index + 1] ?? '');
    } else if (isFramingInDisguise(name)) {
      throw new Refusal('ambiguous_framing');
    }
  }
  return seen;
}

/** `Transfer_Encoding`, `transfer---encoding`: a CGI-style parser reads them as the real one. */
function isFramingInDisguise(name: string): boolean {
  return /^(?:transfer[_-]+encoding|content[_-]+length)$/.test(name);
}

function checkHost(host: string | undefined, httpVersion: string): void {
  if (host === undefined && httpVersion === '1.0') return;
  if (host === undefined || !hostValue.test(host)) {
    throw new Refusal('malformed_request', { detail: 'The Host header is missing or not a host.' });
  }
}

/** RFC 9112 §6.1: Transfer-Encoding with Content-Length, or in HTTP/1.0, is how requests are smuggled. */
function checkFraming(transferEncoding: string | undefined, hasLength: boolean, httpVersion: string): void {
  if (transferEncoding === undefined) return;
  if (hasLength || httpVersion === '1.0' || transferEncoding.toLowerCase() !== 'chunked') {
    throw new Refusal('ambiguous_framing');
  }
}

/** Whether a body was announced. Zero bytes are no body. */
export function hasBody(request: IncomingMessage): boolean {
  return request.headers['transfer-encoding'] !== undefined || declaredBytes(request) > 0;
}

/** Content-Length, or 0 when absent. */
export function declaredBytes(request: IncomingMessage): number {
  return Number(request.headers['content-length'] ?? 0);
}
