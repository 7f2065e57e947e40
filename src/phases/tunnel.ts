/** Phase 7 for a WebSocket: the upstream is asked, and once it has agreed, bytes pass both ways until a side leaves. */
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { Refusal } from '../errors.ts';
import type { Exchange, Permit, Upgrade, UpstreamHead } from '../exchange.ts';
import { answerHead } from '../http/answer-head.ts';
import { partitionOf } from '../http/client-address.ts';
import { ClientGate } from '../http/client-gate.ts';
import { type Answer, askForWebSocket, HandshakeError } from '../http/open-websocket.ts';
import { type ResponsePolicy, withOwn } from '../http/response.ts';
import type { Tunnels } from '../http/tunnels.ts';
import { isFailureOfUpstream, type Upstream } from '../http/upstream.ts';
import type { Address } from '../http/upstream-address.ts';
import { isAcceptance } from '../http/websocket.ts';
import { connectTriesMax, lingerMs, websocketIdleMs, websocketProofMs } from '../limits.ts';

export interface Tunnelling {
  readonly policy: ResponsePolicy;
  readonly tunnels: Tunnels;
  /** Puts the opening on record; asked before the client hears of it. */
  onOpen(): Promise<void>;
  /** The phases before, once more, as they are now: throws when the caller may not do this any longer. */
  proveAgain(): Promise<unknown>;
}

/** One address that has answered. */
interface Asked {
  readonly answer: Answer;
  readonly address: Address;
  readonly gate: ClientGate;
}

/**
 * Opens a WebSocket to the upstream, for which a permit is the ticket; resolves when it is over.
 * @throws `websocket_refused`, `shutting_down`, `overloaded`, `too_many_websockets`, `audit_unavailable`, what `forward`
 *   throws before an answer, and why an open one was ended: `websocket_idle`, `shutting_down`, `upstream_cut_off`, or
 *   what `proveAgain` throws
 */
export async function tunnel(
  tunnelling: Tunnelling,
  exchange: Exchange,
  permit: Permit,
  upgrade: Upgrade,
  head: UpstreamHead,
): Promise<void> {
  const { destination } = permit.route;
  if (destination.kind !== 'upstream' || !destination.websocket) throw new Refusal('websocket_refused');
  const { clock } = tunnelling.policy;
  const leave = tunnelling.tunnels.enter(partitionOf(exchange.clientAddress, permit.principal));
  const sentMs = clock.monotonicMs();
  const gone = new AbortController();
  const notEnding = tunnelling.tunnels.whenEnding((reason) => gone.abort(reason));
  exchange.ending.whenOver(() => gone.abort(new Refusal('client_closed')));
  try {
    const asked = await ask(destination.upstream, exchange, upgrade, head, gone.signal);
    try {
      if (asked.answer.status === 101) await hold(tunnelling, exchange, permit, upgrade, asked);
      else await relayAnswer(tunnelling.policy, exchange, asked, gone.signal);
    } finally {
      asked.gate.destroy();
      asked.answer.socket.destroy();
      asked.address.leave(false);
    }
  } finally {
    exchange.outcome.upstreamMs = clock.monotonicMs() - sentMs;
    notEnding();
    leave();
  }
}

/** The handshake is a request like any other to the upstream's circuit and queue; the tunnel itself is not. */
async function ask(
  upstream: Upstream,
  exchange: Exchange,
  upgrade: Upgrade,
  headers: UpstreamHead,
  signal: AbortSignal,
): Promise<Asked> {
  let asked: Asked | undefined;
  await upstream.carry(async (onAnswer) => {
    asked = await askInTurn(upstream, exchange, upgrade, headers, signal);
    onAnswer();
  });
  if (asked === undefined) throw new Error('an upstream has carried nothing');
  return asked;
}

/** Another address is asked where nothing was sent. */
async function askInTurn(
  upstream: Upstream,
  exchange: Exchange,
  { socket }: Upgrade,
  headers: UpstreamHead,
  signal: AbortSignal,
): Promise<Asked> {
  const tried: Address[] = [];
  let refusal: Refusal | undefined;
  while (tried.length < connectTriesMax) {
    const address = upstream.next(tried);
    if (address === undefined) break;
    tried.push(address);
    address.enter();
    const gate = new ClientGate(socket);
    try {
      const { url, connectTimeoutMs, responseTimeoutMs, idleTimeoutMs } = address;
      const times = { connectTimeoutMs, responseTimeoutMs, idleTimeoutMs };
      const target = exchange.request.url ?? exchange.path;
      const handshake = { url, target, headers, ...times, signal };
      const answer = await askForWebSocket(handshake, gate);
      address.answers();
      return { answer, address, gate };
    } catch (error) {
      refusal = signal.aborted ? (signal.reason as Refusal) : refusalOf(error);
      address.leave(isFailureOfUpstream(refusal));
      if (signal.aborted || !(error instanceof HandshakeError) || error.started) break;
    }
  }
  throw refusal ?? new Error('an upstream has no address');
}

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof HandshakeError)) return new Refusal('internal_error', { cause: error });
  const { cause } = error;
  if (error.isTimeout) return new Refusal('upstream_timeout', { cause });
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  // A parser's error holds the bytes it failed at, which are nobody's to read in our log.
  if (code.startsWith('HPE_')) return new Refusal('upstream_invalid', { cause: code });
  return new Refusal('upstream_unreachable', { cause });
}

/** What the upstream says in place of a 101 is an answer as any other, and the connection ends with it. */
async function relayAnswer(
  policy: ResponsePolicy,
  exchange: Exchange,
  { answer }: Asked,
  signal: AbortSignal,
): Promise<void> {
  const { response, outcome } = exchange;
  const { status, rawHeaders, body } = answer;
  try {
    response.writeHead(status, answerHead(policy, exchange, status, rawHeaders));
  } catch (cause) {
    throw new Refusal('upstream_invalid', { cause });
  }
  outcome.status = status;
  // Nothing is written yet that could wait, and nobody else watches who reads it.
  response.setTimeout(policy.stallMs);
  body.on('data', (chunk: Buffer) => {
    outcome.bytesOut += chunk.length;
  });
  try {
    await pipeline(body, response, { signal });
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    const clientLeft =
      cause instanceof Error && 'code' in cause && cause.code === 'ERR_STREAM_PREMATURE_CLOSE';
    throw new Refusal(clientLeft ? 'client_closed' : 'upstream_cut_off', { cause });
  }
}

/** Tells the client, joins the two, and watches over them until they part. */
async function hold(
  tunnelling: Tunnelling,
  exchange: Exchange,
  permit: Permit,
  upgrade: Upgrade,
  { answer, gate }: Asked,
): Promise<void> {
  const { response, request, outcome } = exchange;
  // A 101 to another handshake than this one: who knows what it has agreed to.
  if (!isAcceptance(answer.headers, request.headers['sec-websocket-key'] ?? ''))
    throw new Refusal('upstream_invalid', { cause: 'a 101 that does not accept this handshake' });
  outcome.status = 101;
  await tunnelling.onOpen();
  if (upgrade.socket.destroyed) throw new Refusal('client_closed');
  const theirs = answerHead(tunnelling.policy, exchange, 101, answer.rawHeaders);
  try {
    response.writeHead(101, withOwn(theirs, { Connection: 'Upgrade', Upgrade: 'websocket' }));
  } catch (cause) {
    throw new Refusal('upstream_invalid', { cause });
  }
  response.end();
  outcome.bytesIn = 0;
  upgrade.release();
  await watchOver(tunnelling, exchange, permit, gate, answer.socket);
}

/** Resolves when both sides have left; rejects, with both cut off, for what ends a tunnel before. */
async function watchOver(
  tunnelling: Tunnelling,
  exchange: Exchange,
  permit: Permit,
  gate: ClientGate,
  upstream: Socket,
): Promise<void> {
  const { outcome } = exchange;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const idle = setTimeout(
    () => reject(new Refusal('websocket_idle')),
    permit.route.streamIdleMs ?? websocketIdleMs,
  );
  gate.open((direction, bytes) => {
    idle.refresh();
    if (direction === 'out') outcome.bytesOut += bytes;
    else outcome.bytesIn = (outcome.bytesIn ?? 0) + bytes;
  });
  const stopProving = keepProving(tunnelling, exchange, reject);
  const notEnding = tunnelling.tunnels.whenEnding(reject);
  const lingering: NodeJS.Timeout[] = [];
  const soon = (act: () => void) => lingering.push(setTimeout(act, lingerMs));
  upstream.once('error', (cause) => reject(new Refusal('upstream_cut_off', { cause })));
  // What is on its way to the other side gets a moment to arrive.
  gate.once('end', () => soon(() => upstream.destroy()));
  gate.once('close', () => soon(() => upstream.destroy()));
  upstream.once('close', () => {
    if (gate.writableFinished) soon(() => gate.destroy());
    else gate.once('finish', () => soon(() => gate.destroy()));
  });
  const over = () => {
    if (gate.closed && upstream.closed) resolve();
  };
  gate.once('close', over);
  upstream.once('close', over);
  over();
  try {
    await promise;
  } finally {
    clearTimeout(idle);
    for (const timer of lingering) clearTimeout(timer);
    stopProving();
    notEnding();
  }
}

/**
 * A tunnel must not outlive the right to it. While the store or an issuer cannot be asked, the last proof counts, and
 * no longer than `auth.staleness_max` says.
 */
function keepProving(
  { policy, tunnels, proveAgain }: Tunnelling,
  { startedMs }: Exchange,
  end: (error: unknown) => void,
): () => void {
  const now = () => policy.clock.monotonicMs();
  let provenMs: number = startedMs;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  const prove = async () => {
    const askedMs = now();
    try {
      await proveAgain();
      provenMs = askedMs;
    } catch (error) {
      if (!cannotBeAsked(error) || now() - provenMs > tunnels.stalenessMaxMs) end(error);
    }
    if (!isOver) timer = setTimeout(prove, websocketProofMs);
  };
  timer = setTimeout(prove, Math.max(0, websocketProofMs - (now() - startedMs)));
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

function cannotBeAsked(error: unknown): boolean {
  return (
    error instanceof Refusal && (error.code === 'store_unavailable' || error.reason === 'issuer_unavailable')
  );
}
