/** An exchange around node's own request and response, as the phases meet it, without a socket. */

import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { type MonotonicMs, systemClock, type WallMs } from '../../src/clock.ts';
import { Ending } from '../../src/ending.ts';
import {
  anonymous,
  type Exchange,
  type PartitionedClass,
  type Principal,
  type Route,
} from '../../src/exchange.ts';
import { CheckedResponse } from '../../src/http/checked-response.ts';
import { normalizeAddress } from '../../src/http/client-address.ts';
import { continueTrace } from '../../src/http/trace-context.ts';
import { Upstream } from '../../src/http/upstream.ts';

export interface Sent {
  readonly method?: string;
  readonly target?: string;
  /** Names and values in turn, as they stand in the request; a Host is added unless there is one. */
  readonly headers?: readonly string[];
  readonly httpVersion?: '1.1' | '1.0';
  readonly peer?: string;
}

/** What node's parser hands a head to; `headers` then follows from it by node's own rules, as on the wire. */
interface HeadTaker {
  _addHeaderLines(rawHeaders: string[], length: number): void;
}

export function requestOf(sent: Sent = {}): IncomingMessage {
  const socket = new Socket();
  Object.defineProperty(socket, 'remoteAddress', { value: sent.peer ?? '192.0.2.1' });
  const request = new IncomingMessage(socket);
  const headers = sent.headers ?? [];
  const hasHost = headers.some((name, index) => index % 2 === 0 && name.toLowerCase() === 'host');
  request.method = sent.method ?? 'GET';
  request.url = sent.target ?? '/tools';
  request.httpVersion = sent.httpVersion ?? '1.1';
  request.httpVersionMajor = 1;
  request.httpVersionMinor = sent.httpVersion === '1.0' ? 0 : 1;
  const rawHeaders = hasHost ? [...headers] : ['Host', 'gateway.example', ...headers];
  (request as unknown as HeadTaker)._addHeaderLines(rawHeaders, rawHeaders.length);
  return request;
}

export function exchangeOf(sent: Sent = {}, changes: Partial<Exchange> = {}): Exchange {
  const request = requestOf(sent);
  const [path = '', query = ''] = (request.url ?? '').split('?');
  return {
    request,
    response: new CheckedResponse(request),
    id: '11111111-1111-4111-8111-111111111111',
    requestId: 'request-1',
    trace: continueTrace(request.headers),
    startedAt: 1_695_678_901_234 as WallMs,
    startedMs: 0 as MonotonicMs,
    peer: normalizeAddress(sent.peer ?? '192.0.2.1') ?? 'unix',
    peerTrusted: false,
    clientAddress: sent.peer ?? '192.0.2.1',
    expectsContinue: false,
    upgrade: undefined,
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
    endsConnection: false,
    parserFault: undefined,
    ending: over(),
    ...changes,
  };
}

function over(): Ending {
  const ending = new Ending();
  ending.end();
  return ending;
}

/** 60 a minute. */
export const readClass: PartitionedClass = {
  name: 'read',
  capacity: 60,
  refillUnits: 1,
  refillPeriodUs: 1_000_000,
  partition: 'principal',
};

/** Connects to nothing until something is sent. */
export const upstream = new Upstream({
  name: 'registry',
  urls: ['http://127.0.0.1:9'],
  connections: 1,
  pending: 1,
  connectTimeoutMs: 1_000,
  responseTimeoutMs: 1_000,
  idleTimeoutMs: 1_000,
  openapiPath: undefined,
  ejectAfter: 0,
  ejectMs: 1_000,
  breakAfter: 0,
  breakMs: 1_000,
  health: undefined,
  clock: systemClock,
  random: () => 0,
  onChange: () => undefined,
});

export function routeOf(changes: Partial<Route> = {}): Route {
  return {
    template: '/tools',
    permission: 'read',
    rateClass: readClass,
    cost: 1,
    durable: false,
    bodyBytesMax: 1_024,
    destination: { kind: 'upstream', upstream, assertion: false },
    forwardCredentials: false,
    ...changes,
  };
}

export function principalOf(changes: Partial<Principal> = {}): Principal {
  return {
    kind: 'key',
    subject: 'key:4fXabcdefghi',
    authType: 'ApiKey',
    permissions: new Set(['read']),
    keyId: '4fXabcdefghi',
    ...changes,
  };
}

/** The values of a header in a flat name-value list, whatever its case. */
export function valuesOf(flat: readonly string[], name: string): string[] {
  return flat.filter((_, index) => index % 2 === 1 && flat[index - 1]?.toLowerCase() === name.toLowerCase());
}
