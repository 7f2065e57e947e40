/** Phase 7: the upstream's turn. Bodies stream both ways with back-pressure; whoever leaves takes the other side along. */
import type { Dispatcher } from 'undici';
import { Refusal } from '../errors.ts';
import type { Body, Exchange, Permit, UpstreamHead } from '../exchange.ts';
import { boundedChunks } from '../http/body.ts';
import { nominatedBy, stopsHere } from '../http/hop-by-hop.ts';
import {
  commonHeaders,
  cutOffWhenStalled,
  isOurs,
  type ResponsePolicy,
  stallIsOver,
} from '../http/response.ts';
import type { Upstream } from '../http/upstream.ts';

/** Seconds after which a saturated upstream may have room. */
const saturatedRetrySeconds = 1;

/**
 * Sends the request, for which a permit is the ticket, and relays the answer; resolves when the answer has been handed over whole.
 * @throws `upstream_unreachable`, `upstream_timeout`, `upstream_invalid`, `upstream_cut_off`, `upstream_saturated`,
 *   `body_too_large`, `client_closed`
 */
export async function forward(
  policy: ResponsePolicy,
  exchange: Exchange,
  _permit: Permit,
  upstream: Upstream,
  head: UpstreamHead,
  body: Body,
): Promise<void> {
  if (!upstream.enter())
    throw new Refusal('upstream_saturated', { retryAfterSeconds: saturatedRetrySeconds });
  const sentMs = policy.clock.monotonicMs();
  try {
    if (body.kind === 'stream' && exchange.expectsContinue) exchange.response.writeContinue();
    await relay(policy, exchange, upstream, head, body);
  } finally {
    exchange.outcome.upstreamMs = policy.clock.monotonicMs() - sentMs;
    upstream.leave();
  }
}

function relay(
  policy: ResponsePolicy,
  exchange: Exchange,
  upstream: Upstream,
  headers: UpstreamHead,
  body: Body,
): Promise<void> {
  return new Promise((resolve, reject) => {
    upstream.pool.dispatch(
      {
        // What phase 1 read and phase 3 authorized, to the byte.
        path: exchange.request.url ?? exchange.path,
        method: exchange.request.method as Dispatcher.HttpMethod,
        headers,
        // undici takes async iterables; its types do not say so.
        body: bodyOf(exchange, body) as Buffer | null,
      },
      new Relay(policy, exchange, resolve, reject),
    );
  });
}

function bodyOf(exchange: Exchange, body: Body): Buffer | AsyncIterable<Buffer> | null {
  if (body.kind === 'none') return null;
  return body.kind === 'whole' ? body.bytes : boundedChunks(exchange.request, body.bytesMax);
}

/** undici's dispatch handler: the upstream's answer, part by part. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #policy: ResponsePolicy;
  readonly #exchange: Exchange;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #responded = false;
  #ended = false;

  constructor(
    policy: ResponsePolicy,
    exchange: Exchange,
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.#policy = policy;
    this.#exchange = exchange;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Told at once where the client left while the request waited for a socket.
    void this.#exchange.closed.then(() => {
      if (!this.#ended) controller.abort(new Refusal('client_closed'));
    });
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    // 1xx is between the upstream and us.
    if (status < 200) return;
    const { response, outcome } = this.#exchange;
    response.writeHead(status, responseHead(this.#policy, this.#exchange, status, rawHeaders(controller)));
    outcome.status = status;
    this.#responded = true;
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { response, outcome } = this.#exchange;
    outcome.bytesOut += chunk.length;
    if (response.write(chunk)) return;
    controller.pause();
    // Nobody else watches: while it is paused, undici's own timeout stands still.
    cutOffWhenStalled(this.#policy, this.#exchange);
    response.once('drain', () => {
      stallIsOver(this.#exchange);
      controller.resume();
    });
  }

  onResponseEnd(): void {
    this.#ended = true;
    this.#exchange.response.end();
    cutOffWhenStalled(this.#policy, this.#exchange);
    this.#resolve();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#ended = true;
    this.#reject(reasonOf(error, this.#responded));
  }
}

function rawHeaders(controller: Dispatcher.DispatchController): readonly Buffer[] {
  return Array.isArray(controller.rawHeaders) ? (controller.rawHeaders as Buffer[]) : [];
}

/** The upstream's own headers but for hop-by-hop ones and those that are ours to say. */
function responseHead(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  raw: readonly Buffer[],
): string[] {
  const pairs: Array<[name: string, value: string]> = [];
  let connection: string | undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index]?.toString('latin1') ?? '';
    const value = raw[index + 1]?.toString('latin1') ?? '';
    if (name.toLowerCase() === 'connection')
      connection = connection === undefined ? value : `${connection},${value}`;
    pairs.push([name, value]);
  }
  const nominated = nominatedBy(connection);
  const kept = pairs.filter(([name]) => {
    const lowerName = name.toLowerCase();
    // A 204 has no length to tell (RFC 9110 §8.6).
    if (status === 204 && lowerName === 'content-length') return false;
    return !stopsHere(lowerName.replaceAll('_', '-'), nominated) && !isOurs(policy, lowerName);
  });
  return [...commonHeaders(policy, exchange), ...kept.flat(), 'Via', '1.1 portcullis'];
}

/** Our own refusals pass; a request undici would not take is our mistake, not the upstream's. */
function reasonOf(error: Error & { code?: string }, responded: boolean): Error {
  const isOurs = error instanceof Refusal || error.code === 'UND_ERR_INVALID_ARG';
  return isOurs ? error : upstreamRefusal(error, responded);
}

/** undici's error codes, sorted by who is at fault. A request that may have been received is never sent twice. */
function upstreamRefusal(cause: Error & { code?: string }, responded: boolean): Refusal {
  if (responded) return new Refusal('upstream_cut_off', { cause });
  // Its `data` is what the upstream sent, which is nobody's to read in our log.
  if (cause.name === 'HTTPParserError') return new Refusal('upstream_invalid', { cause: cause.message });
  switch (cause.code) {
    case 'UND_ERR_HEADERS_TIMEOUT':
    case 'UND_ERR_BODY_TIMEOUT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return new Refusal('upstream_timeout', { cause });
    case 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH':
    case 'UND_ERR_HEADERS_OVERFLOW':
    // node:http would not pass on a header of the upstream's.
    case 'ERR_INVALID_CHAR':
    case 'ERR_INVALID_HTTP_TOKEN':
    case 'ERR_HTTP_INVALID_STATUS_CODE':
      return new Refusal('upstream_invalid', { cause });
    default:
      return new Refusal(cause.code?.startsWith('HPE_') ? 'upstream_invalid' : 'upstream_unreachable', {
        cause,
      });
  }
}
