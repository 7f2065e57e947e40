/** Cross-origin requests (Fetch standard). A state-changing request from a foreign origin is refused, not only hidden. */
import type { IncomingMessage } from 'node:http';

const exposed =
  'ETag, Location, Retry-After, X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy';
const allowedMethods = 'GET, HEAD, POST, PUT, PATCH, DELETE';
const allowedHeaders =
  'Authorization, X-API-Key, Content-Type, If-Match, If-None-Match, X-Request-Id, traceparent, tracestate';
const preflightSeconds = 600;

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS', 'QUERY']);

export class Cors {
  readonly #origins: ReadonlySet<string>;
  readonly #any: boolean;

  /** @param origins serialized origins such as `https://app.example.com`; `*` is any */
  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
    this.#any = this.#origins.has('*');
  }

  allows(origin: string): boolean {
    return this.#any || this.#origins.has(origin);
  }

  /** Whether this is a change asked for by a page of an origin that may not ask. */
  refuses(request: IncomingMessage): boolean {
    return !safeMethods.has(request.method ?? '') && this.#isForeign(request);
  }

  /**
   * Whether this WebSocket is asked for by a page of an origin that may not ask: no browser asks before it opens one, and
   * none keeps what comes through it from the page.
   */
  refusesWebSocket(request: IncomingMessage): boolean {
    return this.#isForeign(request);
  }

  #isForeign({ headers: { origin, host } }: IncomingMessage): boolean {
    return origin !== undefined && !this.allows(origin) && !isSameHost(origin, host);
  }

  /** Response headers, flat; for an origin that is not allowed only `Vary`, where the answer depends on it. */
  headers(request: IncomingMessage): string[] {
    const { origin } = request.headers;
    if (this.#origins.size === 0) return [];
    if (origin === undefined || !this.allows(origin)) return ['Vary', 'Origin'];
    const shared = ['Vary', 'Origin', 'Access-Control-Allow-Origin', this.#any ? '*' : origin];
    return isPreflight(request)
      ? [
          ...shared,
          'Access-Control-Allow-Methods',
          allowedMethods,
          'Access-Control-Allow-Headers',
          allowedHeaders,
          'Access-Control-Max-Age',
          String(preflightSeconds),
        ]
      : [...shared, 'Access-Control-Expose-Headers', exposed];
  }
}

/** A browser's question before the request itself. It carries no credential, so it is answered here. */
export function isPreflight(request: IncomingMessage): boolean {
  return (
    request.method === 'OPTIONS' &&
    request.headers.origin !== undefined &&
    request.headers['access-control-request-method'] !== undefined
  );
}

/**
 * The page came from this very host. Only the host is compared, as Go's CrossOriginProtection does: behind a
 * proxy that ends TLS the scheme seen here is not the page's.
 */
function isSameHost(origin: string, host: string | undefined): boolean {
  if (host === undefined || !URL.canParse(origin)) return false;
  const page = new URL(origin);
  const asked = `${page.protocol}//${host}`;
  return URL.canParse(asked) && page.host !== '' && new URL(asked).host === page.host;
}
