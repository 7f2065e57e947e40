/** Phase 6: what the upstream is told. Strip first, then add ours, so that nothing a client sends can remove it. */
import type { Assertions } from '../credentials/assertions.ts';
import type { Exchange, Permit, Principal, UpstreamHead } from '../exchange.ts';
import { nominatedBy, stopsHere } from '../http/hop-by-hop.ts';

/** Never passed on: what some servers take for another method or path, what is answered here, what is said anew. */
const dropped = new Set([
  'expect',
  'host',
  'via',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
  'x-original-url',
  'x-original-uri',
  'x-rewrite-url',
  'x-request-id',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'traceparent',
  'tracestate',
  // `__proto__`, once `_` is read as `-`.
  '--proto--',
]);

const credentialHeaders = new Set(['authorization', 'x-api-key']);

/** Said by a trusted proxy, kept; said by anyone else, dropped. */
function isForwarding(name: string): boolean {
  return name.startsWith('x-forwarded-') || clientAddressHeaders.has(name);
}

/** What proxies and content networks call the client's address; a framework may believe any of them. */
const clientAddressHeaders = new Set([
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'true-client-ip',
  'cf-connecting-ip',
  'fastly-client-ip',
]);

/**
 * The upstream's request headers; empty for what is answered here.
 * @throws `store_unavailable` when the route asks for an assertion and no key signs
 */
export function rewriteHeaders(assertions: Assertions, exchange: Exchange, permit: Permit): UpstreamHead {
  const { destination } = permit.route;
  if (destination.kind !== 'upstream') return [];
  const head = keptHeaders(exchange, permit);
  addForwarding(head, exchange);
  head.push(...identityHeaders(permit.principal));
  if (destination.assertion)
    head.push(...assertionHeader(assertions, exchange, permit, destination.upstream.name));
  return head;
}

function keptHeaders({ request, peerTrusted }: Exchange, { route }: Permit): string[] {
  const { rawHeaders } = request;
  const nominated = nominatedBy(request.headers.connection);
  const kept: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    // `_` and `-` are one to a CGI-style upstream, so X_Auth_Subject is X-Auth-Subject (CVE-2025-64484).
    const lowerName = name.toLowerCase();
    const canonical = lowerName.replaceAll('_', '-');
    const spelledPlainly = canonical === lowerName;
    if (stopsHere(canonical, nominated) || dropped.has(canonical) || canonical.startsWith('x-auth-'))
      continue;
    if (credentialHeaders.has(canonical) && !(route.forwardCredentials && spelledPlainly)) continue;
    if (isForwarding(canonical) && !(peerTrusted && spelledPlainly)) continue;
    kept.push(name, rawHeaders[index + 1] ?? '');
  }
  return kept;
}

/** Who asked whom, in the words every framework reads; a trusted peer's words are kept, ours fill the gaps. */
function addForwarding(head: UpstreamHead, exchange: Exchange): void {
  const { request, peerTrusted } = exchange;
  const { headers } = request;
  const host = headers.host ?? '';
  const said = (name: string) => (peerTrusted && headers[name]?.toString()) || undefined;
  head.push(
    'Host',
    host === '' ? 'localhost' : host,
    'Via',
    headers.via === undefined
      ? `${request.httpVersion} portcullis`
      : `${headers.via}, ${request.httpVersion} portcullis`,
    'X-Forwarded-For',
    forwardedFor(exchange),
    'X-Forwarded-Proto',
    said('x-forwarded-proto') ?? ('encrypted' in request.socket ? 'https' : 'http'),
    'X-Forwarded-Host',
    said('x-forwarded-host') ?? host,
    'X-Request-Id',
    exchange.requestId,
    ...exchange.trace.headers,
  );
}

/** The peer's address, behind the chain it is trusted to report. */
function forwardedFor({ request, peer, peerTrusted }: Exchange): string {
  const chain = request.headers['x-forwarded-for'];
  return peerTrusted && chain !== undefined ? `${chain.toString()}, ${peer}` : peer;
}

/** A verified principal is one object for as long as it is remembered, and never changes. */
const identities = new WeakMap<Principal, readonly string[]>();

/** Nothing for an anonymous caller: a header that is absent cannot be misread. */
function identityHeaders(principal: Principal): readonly string[] {
  if (principal.kind === 'anonymous') return [];
  const known = identities.get(principal);
  if (known !== undefined) return known;
  const headers = [
    'X-Auth-Subject',
    encodeURIComponent(principal.subject).replace('%3A', ':'),
    'X-Auth-Type',
    principal.authType,
    'X-Auth-Permissions',
    [...principal.permissions].join(','),
    ...(principal.keyId === undefined ? [] : ['X-Auth-Key-Id', principal.keyId]),
  ];
  identities.set(principal, headers);
  return headers;
}

/** Of an anonymous caller too: it says that the request came through here, and that nobody is vouched for. */
function assertionHeader(
  assertions: Assertions,
  { request }: Exchange,
  { principal }: Permit,
  upstream: string,
): string[] {
  const { method = '', url: target = '' } = request;
  return ['X-Auth-Assertion', assertions.of({ upstream, method, target, principal })];
}
