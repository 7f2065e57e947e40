/**
 * Every way a request can end badly. A code is public and stays: the same word stands in the problem body,
 * the audit record and the metric. `reason` is internal: it says to operators what callers must not learn.
 */
interface ErrorKind {
  readonly status: number;
  readonly title: string;
  /** Who is at fault: the caller (downstream), the service behind us (upstream), or we (gateway). */
  readonly source: 'downstream' | 'upstream' | 'gateway';
  /** What the caller is told unless the place that throws knows better. */
  readonly detail: string;
}

const down = (status: number, title: string, detail: string): ErrorKind => ({
  status,
  title,
  detail,
  source: 'downstream',
});
const up = (status: number, title: string, detail: string): ErrorKind => ({
  status,
  title,
  detail,
  source: 'upstream',
});
const own = (status: number, title: string, detail: string): ErrorKind => ({
  status,
  title,
  detail,
  source: 'gateway',
});

/** The closed table: code → status, title, source, default detail. */
export const errorKinds = {
  malformed_request: down(400, 'Bad Request', 'The request is not well-formed HTTP/1.1.'),
  ambiguous_target: down(400, 'Bad Request', 'Two parsers could read this request target differently.'),
  ambiguous_framing: down(
    400,
    'Bad Request',
    'Two parsers could read the length of this request differently.',
  ),
  repeated_header: down(400, 'Bad Request', 'A header that may stand once was sent more than once.'),
  ambiguous_credential: down(
    400,
    'Bad Request',
    'Send one credential: either Authorization: Bearer or X-API-Key, once.',
  ),
  http_on_tls_port: down(400, 'Bad Request', 'This port speaks TLS: use https.'),
  tls_on_http_port: down(400, 'Bad Request', 'This port speaks plain HTTP: use http.'),
  certificate_refused: down(
    403,
    'Forbidden',
    'The certificate of the client was not accepted, or none was sent.',
  ),
  malformed_handshake: down(
    400,
    'Bad Request',
    'This is not the opening handshake of a WebSocket (RFC 6455 §4.1).',
  ),
  websocket_refused: down(400, 'Bad Request', 'This path does not take WebSockets.'),
  malformed_body: down(400, 'Bad Request', 'The body is not well-formed.'),
  credential_missing: down(
    401,
    'Unauthorized',
    'A credential is needed: Authorization: Bearer <token or API key>, or X-API-Key: <key>.',
  ),
  invalid_credential: down(401, 'Unauthorized', 'The credential was not accepted.'),
  permission_denied: down(403, 'Forbidden', 'The credential does not carry the permission this needs.'),
  origin_not_allowed: down(403, 'Forbidden', 'This origin may not send state-changing requests.'),
  route_not_found: down(404, 'Not Found', 'There is nothing at this path.'),
  resource_not_found: down(404, 'Not Found', 'There is no object with this id.'),
  method_not_allowed: down(405, 'Method Not Allowed', 'This path does not take this method; see Allow.'),
  request_timeout: down(408, 'Request Timeout', 'The request did not arrive in time.'),
  conflict: down(409, 'Conflict', 'This would clash with an object that exists.'),
  body_too_large: down(413, 'Content Too Large', 'The body is larger than this route takes.'),
  target_too_long: down(414, 'URI Too Long', 'The request target is too long.'),
  unsupported_media_type: down(415, 'Unsupported Media Type', 'This route does not take this content type.'),
  expectation_failed: down(417, 'Expectation Failed', 'Only Expect: 100-continue is understood.'),
  content_refused: down(422, 'Unprocessable Content', 'The body holds what this route does not take.'),
  validation_failed: down(422, 'Unprocessable Content', 'A field is missing or wrong; see errors.'),
  websocket_version: down(426, 'Upgrade Required', 'Only version 13 of the WebSocket protocol is spoken.'),
  rate_limited: down(429, 'Too Many Requests', 'Rate limit exceeded. Please try again later.'),
  too_many_websockets: down(429, 'Too Many Requests', 'You have too many WebSockets open.'),
  too_many_failures: down(
    429,
    'Too Many Requests',
    'Too many failed credentials from this address. Please try again later.',
  ),
  headers_too_large: down(
    431,
    'Request Header Fields Too Large',
    'The request has too many or too large headers.',
  ),
  websocket_idle: own(408, 'Request Timeout', 'Nothing passed through this WebSocket for too long.'),
  client_closed: down(499, 'Client Closed Request', 'The client left before the answer was complete.'),
  internal_error: own(
    500,
    'Internal Server Error',
    'Something went wrong here; the request id finds it in the log.',
  ),
  upstream_unreachable: up(502, 'Bad Gateway', 'The service behind the gateway could not be reached.'),
  upstream_invalid: up(502, 'Bad Gateway', 'The service behind the gateway did not answer properly.'),
  upstream_cut_off: up(
    502,
    'Bad Gateway',
    'The service behind the gateway stopped in the middle of its answer.',
  ),
  store_unavailable: own(
    503,
    'Service Unavailable',
    'The store of users and keys cannot be asked right now.',
  ),
  rate_limit_unavailable: own(503, 'Service Unavailable', 'The rate limit cannot be checked right now.'),
  audit_unavailable: own(
    503,
    'Service Unavailable',
    'The audit record cannot be written, so nothing was done.',
  ),
  overloaded: own(
    503,
    'Service Unavailable',
    'Too many requests of this kind are waiting. Please try again later.',
  ),
  shutting_down: own(503, 'Service Unavailable', 'The gateway is ending. Please connect again.'),
  upstream_saturated: up(
    503,
    'Service Unavailable',
    'Too many requests wait for the service behind the gateway.',
  ),
  upstream_unavailable: up(
    503,
    'Service Unavailable',
    'The service behind the gateway fails, and is left alone for a moment. Please try again later.',
  ),
  upstream_timeout: up(504, 'Gateway Timeout', 'The service behind the gateway did not answer in time.'),
  version_not_supported: down(
    505,
    'HTTP Version Not Supported',
    'This gateway speaks HTTP/1.1 and HTTP/1.0.',
  ),
} as const satisfies Record<string, ErrorKind>;

/** A public, stable error code. */
export type ErrorCode = keyof typeof errorKinds;

/** Why a credential failed, for audit and metrics only; closed, so that a metric's label stays bounded. */
export type Reason =
  | 'missing'
  | 'too_many_failures'
  | 'malformed'
  | 'bad_checksum'
  | 'unknown_key'
  | 'unknown_user'
  | 'wrong_secret'
  | 'wrong_password'
  | 'bad_signature'
  | 'wrong_algorithm'
  | 'wrong_type'
  | 'wrong_issuer'
  | 'wrong_audience'
  | 'missing_claim'
  | 'expired'
  | 'not_yet_valid'
  | 'revoked'
  | 'disabled'
  | 'reused'
  | 'locked'
  | 'new_address'
  | 'too_large'
  | 'issuer_unavailable'
  | 'untrusted_certificate';

/**
 * What somebody should look at; counted, and logged at `warn`. `refresh_reuse`: a used refresh token was presented
 * again, and its session ended. `login_locked`: an address has been locked out of a username. `login_spread`: many
 * addresses try one username, and new ones have to wait.
 */
export const incidents = ['refresh_reuse', 'login_locked', 'login_spread'] as const;
export type Incident = (typeof incidents)[number];

/** One wrong field of a body, query or form. */
export interface FieldError {
  /** Dotted path, as in `server.url`; empty for the body as a whole. */
  readonly field: string;
  readonly message: string;
}

interface RefusalOptions {
  /** Replaces the code's own sentence. Never holds what a client must not learn, nor a credential. */
  readonly detail?: string;
  readonly reason?: Reason;
  /** What this refusal made of it, beyond a refusal. */
  readonly incident?: Incident | undefined;
  readonly errors?: readonly FieldError[];
  /** Whole seconds, at least 1, until the same request could pass. */
  readonly retryAfterSeconds?: number;
  /** The permission that is missing. */
  readonly scope?: string;
  /** Response headers that belong to this refusal, such as `Allow`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** For the log only. */
  readonly cause?: unknown;
}

/** What a phase throws. One table (`errorKinds`) turns it into an answer. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly reason: Reason | undefined;
  readonly incident: Incident | undefined;
  readonly errors: readonly FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly scope: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, options: RefusalOptions = {}) {
    // A decision, not a fault: where it was made is in its code, and to collect the stack costs more than to decide.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(code, { cause: options.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.name = 'Refusal';
    this.code = code;
    this.detail = options.detail ?? errorKinds[code].detail;
    this.reason = options.reason;
    this.incident = options.incident;
    this.errors = options.errors;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.scope = options.scope;
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return errorKinds[this.code].status;
  }
}
