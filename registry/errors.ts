/** Every way a request to the registry can end badly: code → status, title and what the caller is told. */

/** One wrong field of a body or query. */
export interface FieldError {
  /** Dotted path, as in `server.url`; empty for the body as a whole. */
  readonly field: string;
  readonly message: string;
}

const kind = (status: number, title: string, detail: string) => ({ status, title, detail });

/** The closed table. A code is public and stays. */
export const errorKinds = {
  malformed_request: kind(400, 'Bad Request', 'The request is not well-formed HTTP/1.1.'),
  malformed_body: kind(400, 'Bad Request', 'The body is not well-formed JSON in UTF-8.'),
  invalid_assertion: kind(
    401,
    'Unauthorized',
    'Requests are taken from the gateway only, with its X-Auth-Assertion for exactly this request.',
  ),
  route_not_found: kind(404, 'Not Found', 'There is nothing at this path.'),
  resource_not_found: kind(404, 'Not Found', 'There is no tool with this id.'),
  method_not_allowed: kind(405, 'Method Not Allowed', 'This path does not take this method; see Allow.'),
  request_timeout: kind(408, 'Request Timeout', 'The request did not arrive in time.'),
  conflict: kind(409, 'Conflict', 'Another tool has this name.'),
  precondition_failed: kind(
    412,
    'Precondition Failed',
    'The tool is not at the version that If-Match names: read it again, and repeat the change on that.',
  ),
  body_too_large: kind(413, 'Content Too Large', 'The body is larger than 256 KiB.'),
  unsupported_media_type: kind(415, 'Unsupported Media Type', 'Send the body as application/json.'),
  validation_failed: kind(422, 'Unprocessable Content', 'A field is missing or wrong; see errors.'),
  headers_too_large: kind(
    431,
    'Request Header Fields Too Large',
    'The request has too many or too large headers.',
  ),
  internal_error: kind(
    500,
    'Internal Server Error',
    'Something went wrong here; the request id finds it in the log.',
  ),
  store_unavailable: kind(503, 'Service Unavailable', 'The store of tools cannot be used right now.'),
  keys_unavailable: kind(503, 'Service Unavailable', 'The keys of the gateway are not here yet.'),
} as const;

export type ErrorCode = keyof typeof errorKinds;

interface RefusalOptions {
  /** Replaces the code's own sentence. */
  readonly detail?: string;
  readonly errors?: readonly FieldError[];
  /** Response headers that belong to this refusal, such as `Allow`. */
  readonly headers?: Readonly<Record<string, string>>;
  /** For the log only. */
  readonly cause?: unknown;
}

/** What an endpoint throws; `errorKinds` turns it into an answer. */
export class Refusal extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, options: RefusalOptions = {}) {
    super(code, { cause: options.cause });
    this.name = 'Refusal';
    this.code = code;
    this.detail = options.detail ?? errorKinds[code].detail;
    this.errors = options.errors;
    this.headers = options.headers ?? {};
  }
}
