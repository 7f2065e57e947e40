/**
 * The spans of a request, made when it is over: a server span, and a client span where something was sent to an
 * upstream. Names and attributes are OpenTelemetry's HTTP conventions; no attribute holds a query, a header that a
 * caller chose freely, or a credential.
 */
import { METHODS } from 'node:http';
import { TLSSocket } from 'node:tls';
import { maskCredentials } from '../audit/record.ts';
import type { Exchange } from '../exchange.ts';
import { auditFieldCharsMax } from '../limits.ts';

export interface SpanData {
  readonly kind: 'server' | 'client';
  readonly name: string;
  readonly spanId: string;
  /** The span it belongs to; undefined for the first of a trace. */
  readonly parent: { readonly spanId: string; readonly isRemote: boolean } | undefined;
  /** Wall time in milliseconds, with a fraction. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly failed: boolean;
}

const knownMethods = new Set(METHODS);

/** None where the request is not sampled. @param processMs how long it took */
export function spansOf(exchange: Exchange, processMs: number): SpanData[] {
  if (exchange.trace.spans === undefined) return [];
  const server = serverSpan(exchange, exchange.trace.spans, processMs);
  const client = clientSpan(exchange, exchange.trace.spans, server.endMs);
  return client === undefined ? [server] : [server, client];
}

type Ids = NonNullable<Exchange['trace']['spans']>;

function serverSpan(exchange: Exchange, ids: Ids, processMs: number): SpanData {
  const { request, outcome } = exchange;
  const route = routeOf(exchange);
  const method = methodOf(exchange);
  return {
    kind: 'server',
    name: [method === '_OTHER' ? 'HTTP' : method, route].filter((part) => part !== undefined).join(' '),
    spanId: ids.server,
    parent: ids.parent === undefined ? undefined : { spanId: ids.parent, isRemote: true },
    startMs: exchange.startedAt,
    endMs: exchange.startedAt + processMs,
    attributes: {
      'http.request.method': method,
      ...(route !== undefined && { 'http.route': route }),
      ...(outcome.status > 0 && { 'http.response.status_code': outcome.status }),
      ...pathOf(exchange, (path) => ({ 'url.path': path })),
      'url.scheme': request.socket instanceof TLSSocket ? 'https' : 'http',
      ...hostOf(request.headers.host),
      'client.address': exchange.clientAddress,
      'network.protocol.version': request.httpVersion,
      ...errorOf(outcome.code, outcome.status, 500),
    },
    // A 4xx is the caller's fault, so not the server's error.
    failed: outcome.status >= 500,
  };
}

function clientSpan(exchange: Exchange, ids: Ids, serverEndMs: number): SpanData | undefined {
  const { outcome, startedAt, startedMs } = exchange;
  const { upstreamCall: call, upstreamMs = 0 } = outcome;
  if (call === undefined) return undefined;
  const startMs = startedAt + (call.sentMs - startedMs);
  const method = methodOf(exchange);
  const server = serverOf(call.url);
  // A body cut off, or a client that left, ends the upstream request too.
  const failed = outcome.code !== undefined || (call.status ?? 0) >= 400;
  return {
    kind: 'client',
    name: method === '_OTHER' ? 'HTTP' : method,
    spanId: ids.client,
    parent: { spanId: ids.server, isRemote: false },
    startMs,
    endMs: Math.min(startMs + upstreamMs, serverEndMs),
    attributes: {
      'http.request.method': method,
      ...(call.status !== undefined && { 'http.response.status_code': call.status }),
      ...pathOf(exchange, (path) => ({ 'url.full': `${server.origin}${path}` })),
      ...server.attributes,
      ...(call.tries > 1 && { 'http.request.resend_count': call.tries - 1 }),
      ...errorOf(outcome.code, call.status ?? 0, 400),
    },
    failed,
  };
}

/** A method that Node's parser takes is known; `_OTHER` is the conventions' word for the rest. */
function methodOf({ request: { method } }: Exchange): string {
  return method !== undefined && knownMethods.has(method) ? method : '_OTHER';
}

/** Only a route of the configuration has a name here: what matched none has none. */
function routeOf({ route }: Exchange): string | undefined {
  return route === undefined || route.destination.kind === 'refusal' ? undefined : route.template;
}

/** A target that was refused unread may hold anything, a user's password before the host for one. */
function pathOf<T>({ route, path }: Exchange, attribute: (path: string) => T): T | undefined {
  return route && attribute(maskCredentials(path).slice(0, auditFieldCharsMax));
}

/** Where the client meant to go. */
function hostOf(host: string | undefined): Record<string, string | number> {
  const match = /^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?$/.exec(host ?? '');
  const [, address, port] = match ?? [];
  if (address === undefined) return {};
  return { 'server.address': address, ...(port !== undefined && { 'server.port': Number(port) }) };
}

function serverOf(url: string): { origin: string; attributes: Record<string, string | number> } {
  if (url.startsWith('unix:')) {
    const attributes = { 'server.address': url.slice('unix:'.length), 'network.transport': 'unix' };
    return { origin: 'http://localhost', attributes };
  }
  const { origin, hostname, port, protocol } = new URL(url);
  const usualPort = protocol === 'https:' ? 443 : 80;
  return {
    origin,
    attributes: { 'server.address': hostname, 'server.port': port === '' ? usualPort : Number(port) },
  };
}

/** Our code where there is one; else the status, from which on it is an error. */
function errorOf(code: string | undefined, status: number, errorsFrom: number): Record<string, string> {
  if (code !== undefined) return { 'error.type': code };
  return status >= errorsFrom ? { 'error.type': String(status) } : {};
}
