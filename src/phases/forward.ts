/** Phase 7: the upstream's turn. Bodies stream both ways with back-pressure; whoever leaves takes the other side along. */
import type { Dispatcher } from 'undici';
import { Refusal } from '../errors.ts';
import type { Body, Exchange, Permit, UpstreamHead } from '../exchange.ts';
import { writeAnswerHead } from '../http/answer-head.ts';
import { BoundedBody } from '../http/bounded-body.ts';
import { type RawHeaders, type RequestHead, rawHeadersOf, requestHead } from '../http/checked-request.ts';
import { handOver } from '../http/hand-over.ts';
import { cutOffWhenStalled, type ResponsePolicy, stallIsOver } from '../http/response.ts';
import { isFailureOfUpstream, type Upstream, wasCut } from '../http/upstream.ts';
import type { Address } from '../http/upstream-address.ts';
import { connectTriesMax, oneWriteBytesMax } from '../limits.ts';

/**
 * Sends the request, for which a permit is the ticket, and relays the answer; resolves when the answer has been handed over whole.
 * @throws `upstream_unreachable`, `upstream_timeout`, `upstream_invalid`, `upstream_cut_off`, `upstream_saturated`,
 *   `upstream_unavailable`, `body_too_large`, `client_closed`
 */
export function forward(
  policy: ResponsePolicy,
  exchange: Exchange,
  permit: Permit,
  upstream: Upstream,
  head: UpstreamHead,
  body: Body,
): Promise<void> {
  const silenceMs = permit.route.streamIdleMs;
  return upstream.carry((onAnswer) =>
    relay(policy, exchange, { upstream, head: requestHead(head), body, silenceMs, onAnswer }),
  );
}

function relay(policy: ResponsePolicy, exchange: Exchange, sending: Sending): Promise<void> {
  if (sending.body.kind === 'stream' && exchange.expectsContinue) exchange.response.writeContinue();
  return new Promise((resolve, reject) => {
    new Relay(policy, exchange, sending, resolve, reject).send();
  });
}

function bodyOf(exchange: Exchange, body: Body): Buffer | BoundedBody | null {
  if (body.kind === 'none') return null;
  return body.kind === 'whole' ? body.bytes : new BoundedBody(exchange.request, body.bytesMax, true);
}

interface Sending {
  readonly upstream: Upstream;
  readonly head: RequestHead;
  readonly body: Body;
  /** How long it may be silent, in place of its own times. */
  readonly silenceMs: number | undefined;
  /** Called once the upstream has shown that it is there. */
  readonly onAnswer: () => void;
}

/** undici's dispatch handler: the upstream's answer, part by part, and the choice of where to ask for it. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #policy: ResponsePolicy;
  readonly #exchange: Exchange;
  readonly #sending: Sending;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #address: Address | undefined;
  /** Where it has been in vain; made when it is needed. */
  #tried: Address[] | undefined;
  #controller: Dispatcher.DispatchController | undefined;
  /** Whether a byte of it may have been sent to this address. */
  #started = false;
  #repeated = false;
  #responded = false;
  #ended = false;
  /** Bytes of body that the answer has announced. */
  #announced = Number.NaN;
  /** All of a small body, which goes along with its head. */
  #whole: Buffer | undefined;

  constructor(
    policy: ResponsePolicy,
    exchange: Exchange,
    sending: Sending,
    resolve: () => void,
    reject: (error: unknown) => void,
  ) {
    this.#policy = policy;
    this.#exchange = exchange;
    this.#sending = sending;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  send(address = this.#sending.upstream.next()): void {
    if (address === undefined) throw new Error('an upstream has no address');
    const { head, body, silenceMs } = this.#sending;
    this.#address = address;
    this.#started = false;
    this.#note(address);
    address.enter();
    // undici takes more than its types say: what behaves like a stream, and the lines that CheckedRequest reads.
    const options = {
      // What phase 1 read and phase 3 authorized, to the byte.
      path: this.#exchange.request.url ?? this.#exchange.path,
      method: this.#exchange.request.method as Dispatcher.HttpMethod,
      headers: head.headers as string[],
      lines: head.lines,
      body: bodyOf(this.#exchange, body) as Buffer | null,
      ...(silenceMs !== undefined && { headersTimeout: silenceMs, bodyTimeout: silenceMs }),
    };
    address.pool.dispatch(options, this);
  }

  #note({ url }: Address): void {
    const { outcome } = this.#exchange;
    const sentMs = this.#policy.clock.monotonicMs();
    outcome.upstreamCall ??= { sentMs, url, tries: 0, status: undefined };
    outcome.upstreamCall.url = url;
    outcome.upstreamCall.tries += 1;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#started = true;
    const isFirst = this.#controller === undefined;
    this.#controller = controller;
    // It answers no earlier than the client has sent its body, and nobody should have to wait for that.
    if (this.#sending.body.kind === 'stream') this.#sending.onAnswer();
    if (!isFirst) {
      if (this.#exchange.response.destroyed) controller.abort(new Refusal('client_closed'));
      return;
    }
    // Told at once where the client left while the request waited for a socket.
    this.#exchange.ending.whenOver(() => {
      if (!this.#ended) this.#controller?.abort(new Refusal('client_closed'));
    });
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    // 1xx is between the upstream and us.
    if (status < 200) return;
    const { response, outcome } = this.#exchange;
    const headers = rawHeadersOf(controller);
    writeAnswerHead(this.#policy, this.#exchange, status, headers);
    this.#announced = announcedBytes(headers);
    outcome.status = status;
    if (outcome.upstreamCall) outcome.upstreamCall.status = status;
    this.#responded = true;
    this.#address?.answers();
    this.#sending.onAnswer();
    // A stream's head does not wait for its first event; one whose body is at hand goes along with it.
    queueMicrotask(() => {
      if (!this.#ended && outcome.bytesOut === 0) response.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { response, outcome } = this.#exchange;
    outcome.bytesOut += chunk.length;
    if (chunk.length === this.#announced && chunk.length <= oneWriteBytesMax) {
      // Its end is told in the same turn: the parser has counted.
      this.#whole = chunk;
      return;
    }
    if (handOver(response, chunk)) return;
    controller.pause();
    // Nobody else watches: while it is paused, undici's own timeout stands still.
    cutOffWhenStalled(this.#policy, this.#exchange);
    response.once('drain', () => {
      stallIsOver(this.#exchange);
      controller.resume();
    });
  }

  onResponseEnd(): void {
    this.#address?.leave(false);
    if (this.#whole === undefined) this.#exchange.response.end();
    // As a string of bytes node:http puts it behind the head, and both are one write.
    else this.#exchange.response.end(this.#whole.toString('latin1'), 'latin1');
    cutOffWhenStalled(this.#policy, this.#exchange);
    this.#end();
    this.#resolve();
  }

  /** No more will be heard of any upstream. */
  #end(): void {
    this.#ended = true;
    const { outcome } = this.#exchange;
    if (outcome.upstreamCall !== undefined)
      outcome.upstreamMs = this.#policy.clock.monotonicMs() - outcome.upstreamCall.sentMs;
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const reason = reasonOf(error, this.#responded);
    const failed = isFailureOfUpstream(reason);
    this.#address?.leave(failed);
    try {
      const other = failed ? this.#elsewhere(error) : undefined;
      if (other !== undefined) {
        this.send(other);
        return;
      }
    } catch (unexpected) {
      this.#end();
      this.#reject(unexpected);
      return;
    }
    this.#end();
    this.#reject(reason);
  }

  /** Where the request may be sent again: nothing of it was sent, or asking twice does no harm and needs no body. */
  #elsewhere(error: Error & { code?: string }): Address | undefined {
    const { upstream, body } = this.#sending;
    const address = this.#address;
    if (address === undefined || this.#exchange.response.destroyed) return undefined;
    this.#tried ??= [];
    this.#tried.push(address);
    if (!this.#started) {
      return this.#tried.length < connectTriesMax ? upstream.next(this.#tried) : undefined;
    }
    // A kept-alive socket that the upstream has just closed looks so. Once is enough.
    if (this.#repeated || body.kind !== 'none' || !wasCut(error)) return undefined;
    if (!safeMethods.has(this.#exchange.request.method ?? '')) return undefined;
    this.#repeated = true;
    return upstream.next(this.#tried) ?? address;
  }
}

/** RFC 9110 §9.2.1. */
const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS']);

/** What `Content-Length` says: once at most, and a number, or the parser had refused it. NaN where it is absent. */
function announcedBytes(headers: RawHeaders): number {
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const name = headers[index];
    if (name?.length === 14 && name.toString('latin1').toLowerCase() === 'content-length')
      return Number(headers[index + 1]?.toString('latin1'));
  }
  return Number.NaN;
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
