/** The way of a request, top to bottom. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Recorder } from './audit/recorder.ts';
import type { Buckets } from './bucket/buckets.ts';
import type { Connection } from './connection.ts';
import type { Assertions } from './credentials/assertions.ts';
import { Refusal } from './errors.ts';
import {
  anonymous,
  type Body,
  type Exchange,
  type Permit,
  type Upgrade,
  type UpstreamHead,
} from './exchange.ts';
import { answerError } from './http/answer-error.ts';
import type { CheckedResponse } from './http/checked-response.ts';
import { clientAddress, type Trust } from './http/client-address.ts';
import { leavesHttp, type ResponsePolicy } from './http/response.ts';
import { continueTrace, type Sampling, sampleTrace } from './http/trace-context.ts';
import type { Tunnels } from './http/tunnels.ts';
import { answer } from './phases/answer.ts';
import { type Authentication, authenticate, authenticateAgain } from './phases/authenticate.ts';
import { authorize } from './phases/authorize.ts';
import { forward } from './phases/forward.ts';
import { inspectBody } from './phases/inspect-body.ts';
import { limitRate } from './phases/limit-rate.ts';
import { matchRoute, type Routing } from './phases/match-route.ts';
import { rewriteHeaders } from './phases/rewrite-headers.ts';
import { type Tunnelling, tunnel } from './phases/tunnel.ts';

/** What the phases work with; built once, handed in. */
export interface Gateway {
  readonly routing: Routing;
  readonly authentication: Authentication;
  readonly buckets: Buckets;
  readonly assertions: Assertions;
  readonly policy: ResponsePolicy;
  readonly recorder: Pick<
    Recorder,
    'begin' | 'attempt' | 'opened' | 'complete' | 'refusedByParser' | 'fault'
  >;
  readonly tunnels: Tunnels;
  readonly trust: Trust;
  /** Undefined where nothing is traced. */
  readonly sampling: Sampling | undefined;
}

/**
 * One request, through its phases. Resolves when they are over, and the record is made once the exchange has ended as
 * well, see `Exchange.ending`. Never rejects.
 * @param inForce what a request that begins now would be under, by which one that goes on for long is judged again
 */
export async function handle(gateway: Gateway, exchange: Exchange, inForce: () => Gateway): Promise<void> {
  const { routing, authentication, policy, buckets, assertions, recorder } = gateway;
  try {
    const route = matchRoute(routing, exchange);
    const principal = await authenticate(authentication, exchange, route);
    const permit = authorize(policy.cors, exchange, route, principal);
    await limitRate(buckets, exchange, permit);
    const body = await inspectBody(exchange, permit);
    const head = rewriteHeaders(assertions, exchange, permit);
    await forwardOrAnswer(gateway, exchange, permit, { head, body, inForce });
  } catch (error) {
    answerError(policy, exchange, error);
  } finally {
    exchange.ending.whenOver(() => recorder.complete(exchange));
  }
}

/** The seventh phase. What changes something is on record before it is done. */
async function forwardOrAnswer(
  gateway: Gateway,
  exchange: Exchange,
  permit: Permit,
  { head, body, inForce }: { head: UpstreamHead; body: Body; inForce: () => Gateway },
): Promise<void> {
  const { policy, recorder } = gateway;
  const { destination } = permit.route;
  const { upgrade } = exchange;
  if (destination.kind !== 'refusal') await recorder.attempt(exchange);
  if (upgrade !== undefined && destination.kind !== 'refusal')
    await tunnel(tunnellingOf(gateway, exchange, inForce), exchange, permit, upgrade, head);
  else if (destination.kind === 'upstream')
    await forward(policy, exchange, permit, destination.upstream, head, body);
  else await answer(policy, exchange, permit, destination, body);
}

/**
 * A tunnel outlives its request, and perhaps the configuration that it began under: what the first three phases found
 * has to be so in the one in force.
 */
function tunnellingOf(
  { policy, recorder, tunnels }: Gateway,
  exchange: Exchange,
  inForce: () => Gateway,
): Tunnelling {
  return {
    policy,
    tunnels,
    onOpen: () => recorder.opened(exchange),
    proveAgain: () => proveAgain(inForce(), exchange),
  };
}

/** @throws what the first three phases throw; `websocket_refused` when the route takes none any longer */
async function proveAgain({ routing, authentication, policy }: Gateway, exchange: Exchange): Promise<void> {
  // A request of its own, so that what is on record of the first stays.
  const again = { ...exchange };
  const route = matchRoute(routing, again);
  authorize(policy.cors, again, route, await authenticateAgain(authentication, again, route));
  const { destination } = route;
  if (destination.kind !== 'upstream' || destination.websocket !== true)
    throw new Refusal('websocket_refused');
}

/** What comes in. */
export interface Incoming {
  readonly request: IncomingMessage;
  readonly response: CheckedResponse;
  readonly connection: Connection;
  /** Whether the client waits for our word before it sends the body. */
  readonly expectsContinue?: boolean;
  readonly upgrade?: Upgrade;
}

/** A request as it comes in, before any phase. */
export function beginExchange(
  { policy, recorder, trust, sampling }: Gateway,
  { request, response, connection, expectsContinue = false, upgrade }: Incoming,
): Exchange {
  const id = randomUUID();
  const peer = connection.peerBy(trust);
  const [path = '', query = ''] = splitTarget(request.url ?? '');
  const exchange: Exchange = {
    request,
    response,
    id,
    requestId: (peer.isTrusted && requestIdOf(request)) || id,
    trace: sampling ? sampleTrace(request.headers, peer.isTrusted, sampling) : continueTrace(request.headers),
    startedAt: policy.clock.wallMs(),
    startedMs: policy.clock.monotonicMs(),
    peer: peer.address,
    peerTrusted: peer.isTrusted,
    clientAddress: clientAddress(request, peer, trust),
    expectsContinue,
    upgrade,
    path,
    query,
    route: undefined,
    params: {},
    principal: anonymous,
    authType: 'none',
    credentialId: undefined,
    identifiedSubject: undefined,
    rate: undefined,
    findings: undefined,
    outcome: {
      status: 0,
      decision: 'allow',
      code: undefined,
      reason: undefined,
      incident: undefined,
      upstreamMs: undefined,
      upstreamCall: undefined,
      bytesOut: 0,
      bytesIn: undefined,
      cause: undefined,
    },
    endsConnection: leavesHttp(request),
    parserFault: undefined,
    ending: connection.endingOf(response),
  };
  // Last: who begins is counted as in flight until it is complete, and what throws here never is.
  recorder.begin();
  return exchange;
}

/** As it was sent; phase 1 reads it strictly. */
function splitTarget(target: string): [path: string, query: string] {
  const mark = target.indexOf('?');
  return mark === -1 ? [target, ''] : [target.slice(0, mark), target.slice(mark + 1)];
}

/** A request id that can stand in a header, where nobody looks at it again, and in a log. */
function requestIdOf(request: IncomingMessage): string | undefined {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._:-]{1,128}$/.test(given) ? given : undefined;
}
