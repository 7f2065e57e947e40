/** The head of every response: security headers, request id, rate limit and CORS once, whoever gives the body. */
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock.ts';
import type { BodyWriter } from '../endpoints/endpoint.ts';
import type { Exchange } from '../exchange.ts';
import type { Cors } from './cors.ts';
import { rateHeaders, rateLines } from './rate-headers.ts';
import type { SecurityHeaders } from './security-headers.ts';

export interface ResponsePolicy {
  readonly security: SecurityHeaders;
  readonly cors: Cors;
  readonly clock: Clock;
  /** How long a client may take nothing of its answer before it is cut off. */
  readonly stallMs: number;
  /** Whether the gateway is ending, so that a connection takes no further request. */
  isDraining(): boolean;
}

/** Headers of ours that an upstream's or an endpoint's own may not double; names in lower case. */
const alwaysOurs = new Set([
  'x-request-id',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
  'ratelimit',
  'ratelimit-policy',
]);

/** Whether a response header of the upstream gives way to ours; `name` in lower case. */
export function isOurs(policy: ResponsePolicy, name: string): boolean {
  return policy.security.owns(name) || alwaysOurs.has(name) || name.startsWith('access-control-');
}

/** What stands on this response whatever it is; flat name-value list. */
export function commonHeaders(policy: ResponsePolicy, exchange: Exchange): string[] {
  return [
    ...policy.security.flat(),
    'X-Request-Id',
    exchange.requestId,
    ...(exchange.rate === undefined ? [] : rateHeaders(exchange.rate, policy.clock.wallMs())),
    ...otherHeaders(policy, exchange),
  ];
}

/**
 * Of the common headers, those of which every character is known, as whole lines: they are written without another look.
 * The request id may be a trusted peer's, in the form that `requestIdOf` in gateway.ts lets pass.
 */
export function ownLines({ security, clock }: ResponsePolicy, { requestId, rate }: Exchange): string {
  const rates = rate === undefined ? '' : rateLines(rate, clock.wallMs());
  return `${security.lines}X-Request-Id: ${requestId}\r\n${rates}`;
}

/** Of the common headers, those that say what a client has said, or speak of the connection; flat name-value list. */
export function otherHeaders(policy: ResponsePolicy, exchange: Exchange): string[] {
  return [...policy.cors.headers(exchange.request), ...closing(policy, exchange)];
}

/** Sets `headers` over the common ones: a name that stands already is replaced, not doubled. */
export function withOwn(common: readonly string[], headers: Readonly<Record<string, string>>): string[] {
  const own = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const result: string[] = [];
  for (let index = 0; index < common.length; index += 2) {
    const name = common[index] ?? '';
    if (!own.has(name.toLowerCase())) result.push(name, common[index + 1] ?? '');
  }
  for (const [name, value] of Object.entries(headers)) result.push(name, value);
  return result;
}

/** Writes a whole response whose body is at hand, and counts its bytes. HEAD gets the head alone. */
export function sendWhole(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  headers: readonly string[],
  body: Buffer,
): void {
  const { request, response, outcome } = exchange;
  outcome.status = status;
  const bodiless = status === 204 || status === 304;
  const length = bodiless ? [] : ['Content-Length', String(body.length)];
  response.writeHead(status, [...headers, ...length]);
  if (bodiless || request.method === 'HEAD') {
    response.end();
  } else {
    outcome.bytesOut += body.length;
    response.end(body);
  }
  cutOffWhenStalled(policy, exchange);
}

/**
 * Writes a response whose length nobody knows, and counts its bytes. A client that takes nothing of it for `stallMs`
 * is cut off; one that has nothing to take may wait as long as it likes.
 */
export async function sendStream(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  headers: readonly string[],
  produce: (body: BodyWriter) => Promise<void>,
): Promise<void> {
  const { request, response, outcome } = exchange;
  outcome.status = status;
  response.writeHead(status, [...headers]);
  if (request.method !== 'HEAD') {
    response.flushHeaders();
    await produce(writerTo(policy, exchange));
  }
  response.end();
  cutOffWhenStalled(policy, exchange);
}

function writerTo(policy: ResponsePolicy, exchange: Exchange): BodyWriter {
  const { response, outcome } = exchange;
  let isOver = false;
  // One at a time: a listener for each write would leave something behind each time.
  let wake: () => void = () => undefined;
  exchange.ending.whenOver(() => {
    isOver = true;
    wake();
  });
  return {
    get isOver() {
      return isOver;
    },
    write: async (text) => {
      if (isOver) return;
      outcome.bytesOut += Buffer.byteLength(text);
      if (response.write(text)) return;
      cutOffWhenStalled(policy, exchange);
      await new Promise<void>((resolve) => {
        wake = resolve;
        response.once('drain', resolve);
      });
      stallIsOver(exchange);
    },
    pause: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, isOver ? 0 : ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  };
}

/**
 * A body nobody read must not be read as the next request, and after a head that could not be read in one way
 * (no route was looked for) nobody knows where the next one starts: the connection ends with this response. So it does
 * where another protocol was asked for.
 */
function closing(policy: ResponsePolicy, exchange: Exchange): string[] {
  const { request, route } = exchange;
  const announced =
    request.headers['transfer-encoding'] !== undefined || request.headers['content-length'] !== undefined;
  exchange.endsConnection =
    policy.isDraining() || route === undefined || leavesHttp(request) || (announced && !request.complete);
  return exchange.endsConnection ? ['Connection', 'close'] : [];
}

/**
 * Whether it asks for another protocol, heard or not: its client may go on as if it had been. And node:http's parser
 * drops what the packet holds behind it and reads on with the next one, which may begin in the middle of a request
 * (CWE-444).
 */
export function leavesHttp({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined;
}

/** A client that stops reading would hold a socket, a buffer and perhaps a place at the upstream for ever. */
export function cutOffWhenStalled(policy: ResponsePolicy, exchange: Exchange): void {
  const { response } = exchange;
  // What the kernel has taken waits for nobody here.
  if (response.socket?.writableLength === 0) return;
  // It waits for its turn on the connection, and is written when that comes.
  if (response.socket === null) {
    response.once('socket', () => queueMicrotask(() => lookAgain(policy, exchange)));
    return;
  }
  // Without a listener, node:http destroys the socket; bytes that still move count as life.
  response.setTimeout(policy.stallMs);
}

function lookAgain(policy: ResponsePolicy, exchange: Exchange): void {
  if (exchange.response.socket !== null) cutOffWhenStalled(policy, exchange);
}

/** It has taken what was written; what comes next may take its time. */
export function stallIsOver({ response }: Exchange): void {
  response.setTimeout(0);
}
