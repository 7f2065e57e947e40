/** Turns whatever a phase threw into the one kind of answer there is: a problem body with a stable code. */
import { errorKinds, Refusal } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { problemBody, problemContentType } from './problem.ts';
import { commonHeaders, type ResponsePolicy, sendWhole, withOwn } from './response.ts';

/** Never throws; answers if an answer can still be given, else cuts the connection off. */
export function answerError(policy: ResponsePolicy, exchange: Exchange, error: unknown): void {
  const refusal = exchange.parserFault ?? refusalOf(error);
  recordOutcome(exchange, refusal, error);
  if (exchange.response.headersSent || exchange.response.destroyed) {
    // A clean end would make half an answer look whole.
    exchange.response.destroy();
    return;
  }
  try {
    const headers = withOwn(commonHeaders(policy, exchange), refusalHeaders(refusal));
    sendWhole(
      policy,
      exchange,
      refusal.status,
      headers,
      Buffer.from(refusalBody(refusal, exchange.requestId)),
    );
  } catch (fault) {
    // A mistake of ours: nobody is left waiting for an answer that does not come.
    recordOutcome(exchange, new Refusal('internal_error'), fault);
    exchange.request.socket.destroy();
  }
}

/** What was decided stands, also when the client did not wait to hear it: a guess must not vanish from the record. */
function refusalOf(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal('internal_error', { cause: error });
}

function recordOutcome({ outcome }: Exchange, refusal: Refusal, error: unknown): void {
  outcome.code = refusal.code;
  outcome.reason = refusal.reason;
  outcome.incident = refusal.incident;
  outcome.status = refusal.status;
  const isDenial = errorKinds[refusal.code].source === 'downstream' && refusal.code !== 'client_closed';
  outcome.decision = isDenial ? 'deny' : 'error';
  outcome.cause = error instanceof Refusal ? error.cause : error;
}

/** The problem body of a refusal; also for what never became a request. */
export function refusalBody(refusal: Refusal, requestId: string): string {
  return problemBody({
    status: refusal.status,
    title: errorKinds[refusal.code].title,
    detail: refusal.detail,
    code: refusal.code,
    requestId,
    retryAfterSeconds: refusal.retryAfterSeconds,
    errors: refusal.errors,
  });
}

const realm = 'Bearer realm="portcullis"';

/** RFC 6750 §3.1: no error code where no credential was sent or none would help. */
function challengeOf(refusal: Refusal): string | undefined {
  switch (refusal.code) {
    case 'credential_missing':
    case 'origin_not_allowed':
      return realm;
    case 'invalid_credential':
      return `${realm}, error="invalid_token"`;
    case 'permission_denied': {
      const scope = refusal.scope === undefined ? '' : `, scope="${refusal.scope}"`;
      return `${realm}, error="insufficient_scope"${scope}`;
    }
    default:
      return undefined;
  }
}

/** The headers of a refusal's answer, beside those every response has. */
export function refusalHeaders(refusal: Refusal): Record<string, string> {
  const headers: Record<string, string> = {
    ...refusal.headers,
    'Content-Type': problemContentType,
    'Cache-Control': 'no-store',
  };
  if (refusal.retryAfterSeconds !== undefined) headers['Retry-After'] = String(refusal.retryAfterSeconds);
  const challenge = challengeOf(refusal);
  if (challenge !== undefined) headers['WWW-Authenticate'] = challenge;
  return headers;
}
