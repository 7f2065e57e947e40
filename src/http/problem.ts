/** Problem details, RFC 9457: `application/problem+json` with our extensions `code`, `request_id`, `retry_after`, `errors`. */

export const problemContentType = 'application/problem+json';

export interface Problem {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  /** The stable word a program can switch on. */
  readonly code: string;
  readonly requestId: string;
  /** Seconds. */
  readonly retryAfterSeconds?: number | undefined;
  readonly errors?: ReadonlyArray<{ readonly field: string; readonly message: string }> | undefined;
}

/** Serializes a problem. `type` is `about:blank`, so `title` is the status's own phrase, as the RFC asks. */
export function problemBody(problem: Problem): string {
  return JSON.stringify({
    type: 'about:blank',
    title: problem.title,
    status: problem.status,
    detail: problem.detail,
    code: problem.code,
    request_id: problem.requestId,
    retry_after: problem.retryAfterSeconds,
    errors: problem.errors,
  });
}
