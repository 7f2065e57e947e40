/** What travels through the phases: the exchange itself, the route, who asks, what was decided. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { MonotonicMs, WallMs } from './clock.ts';
import type { Ending } from './ending.ts';
import type { Endpoint } from './endpoints/endpoint.ts';
import type { ErrorCode, Incident, Reason, Refusal } from './errors.ts';
import type { CheckedResponse } from './http/checked-response.ts';
import type { Trace } from './http/trace-context.ts';
import type { Upstream } from './http/upstream.ts';
import type { Inspection } from './inspection/inspection.ts';
import type { Finding } from './inspection/rules.ts';

export type { Permit } from './phases/authorize.ts';

/** The origin's five words; `admin` implies the other four. */
export const permissions = ['create', 'read', 'update', 'delete', 'admin'] as const;
export type Permission = (typeof permissions)[number];

/** What a route asks for: one permission, `any` verified caller, or `none` (public, always anonymous). */
export type RoutePermission = Permission | 'any' | 'none';

/** A named rate limit, parsed: a token bucket's capacity and refill. */
export interface RateClass {
  readonly name: string;
  /** Units a full bucket holds; at least 1. */
  readonly capacity: number;
  /** So many units flow back every `refillPeriodUs` microseconds; both whole, without a common divisor. */
  readonly refillUnits: number;
  readonly refillPeriodUs: number;
}

/** Who shares a bucket of a class: what is named here is what two requests must have in common. */
export const partitions = [
  'principal',
  'address',
  'route',
  'user',
  'principal+route',
  'address+route',
  'user+route',
] as const;
export type Partition = (typeof partitions)[number];

/** A class as routes use it. */
export interface PartitionedClass extends RateClass {
  readonly partition: Partition;
}

export interface Route {
  /** The pattern as configured, such as `/tools/*`: the only form of a path that reaches a metric. */
  readonly template: string;
  readonly permission: RoutePermission;
  readonly rateClass: PartitionedClass;
  /** Units of the class's bucket that a request takes: 1 to its capacity. */
  readonly cost: number;
  /** Whether an audit record must be on disk before anything is done (`/auth/*`, administration, changes). */
  readonly durable: boolean;
  /** Bytes of request body; more is refused with 413. */
  readonly bodyBytesMax: number;
  /** The body is JSON, read whole, checked and passed on byte for byte. Without one it streams. */
  readonly inspection?: Inspection | undefined;
  /** `type/subtype` or `type/*`; without it any is taken, or, where it is inspected, any that is JSON. */
  readonly contentTypes?: readonly string[] | undefined;
  readonly destination: Destination;
  /** Milliseconds of silence that the upstream may keep on this route, in place of its own times. */
  readonly streamIdleMs?: number | undefined;
  /** Whether the caller's own credential goes on to the upstream. */
  readonly forwardCredentials: boolean;
}

/** Where an allowed request goes. A refusal is a destination too: no phase is skipped on the way to a 404. */
type Destination =
  /**
   * `assertion`: whether the upstream is also told in the gateway's signed word who asks. `websocket`: whether a
   * WebSocket may be opened to it.
   */
  | {
      readonly kind: 'upstream';
      readonly upstream: Upstream;
      readonly assertion: boolean;
      readonly websocket?: boolean;
    }
  | { readonly kind: 'local'; readonly endpoint: Endpoint }
  | { readonly kind: 'refusal'; readonly code: ErrorCode; readonly allow?: string };

/** A verified caller, or the explicit anonymous one. */
export interface Principal {
  readonly kind: 'anonymous' | 'user' | 'key' | 'external';
  /** `user:<id>`, `key:<id>`, `<issuer's name>:<sub>` or `<certificates' name>:<URI or DNS name>`; cannot collide. The anonymous principal's is the empty string. */
  readonly subject: string;
  /** How the credential was presented; the audit record's `auth_type`. */
  readonly authType: 'none' | 'Bearer' | 'ApiKey' | 'Certificate';
  readonly permissions: ReadonlySet<Permission>;
  /** The API key's public id, where a key or a token made from one was presented. */
  readonly keyId?: string;
  /** `user:<id>`: whose key it is, where it belongs to a user. */
  readonly owner?: string;
  /** The session (`sid`) of a token of our own. */
  readonly sessionId?: string;
  /** The `jti` of an external token, or a hash of one too odd to be written down; the SHA-256 of a certificate. */
  readonly tokenId?: string;
}

export const anonymous: Principal = {
  kind: 'anonymous',
  subject: '',
  authType: 'none',
  permissions: new Set(),
};

/** The request's body once it has been inspected. */
export type Body =
  | { readonly kind: 'none' }
  /** Not read yet: it streams, cut off above `bytesMax`. */
  | { readonly kind: 'stream'; readonly bytesMax: number }
  /** Read whole and checked; `bytes` go on unchanged, `value` is what they say. */
  | { readonly kind: 'whole'; readonly bytes: Buffer; readonly value: unknown };

/** The upstream request's headers, name and value in turn, as undici's dispatch takes them. */
export type UpstreamHead = string[];

/**
 * Who decided. Counted: `memory`, this process alone; `redis`, asked for this request; `lease`, units that Redis gave
 * ahead; `empty`, what Redis had said of this bucket. While Redis is away: `local`, this replica's share; and, with
 * nothing counted, `open` and `closed`.
 */
export const rateSources = ['memory', 'redis', 'lease', 'empty', 'local', 'open', 'closed'] as const;
export type RateSource = (typeof rateSources)[number];

/** A bucket's answer, for the rate-limit headers. */
export interface RateDecision {
  readonly rateClass: RateClass;
  readonly source: RateSource;
  readonly admitted: boolean;
  /** Whole units left. */
  readonly remaining: number;
  /** Milliseconds until the bucket is full. */
  readonly fullInMs: number;
  /** Milliseconds until a request of this cost would pass; 0 when admitted. */
  readonly retryInMs: number;
}

/** A request to an upstream, for the span that is made of it. */
interface UpstreamCall {
  readonly sentMs: MonotonicMs;
  /** The address that was asked last: `http://host:port` or `unix:/path`. */
  url: string;
  /** How many times it was sent, or tried to. */
  tries: number;
  /** What the upstream answered; undefined when it did not. */
  status: number | undefined;
}

/** How it ended, filled in as the request goes; the recorder reads it once. */
interface Outcome {
  status: number;
  decision: 'allow' | 'deny' | 'error';
  code: ErrorCode | undefined;
  reason: Reason | undefined;
  incident: Incident | undefined;
  upstreamMs: number | undefined;
  /** The upstream request; undefined when none was sent. */
  upstreamCall: UpstreamCall | undefined;
  /** Body bytes handed to the client's socket. */
  bytesOut: number;
  /** Bytes that came through a WebSocket from the client; undefined for whatever is none, or did not open. */
  bytesIn: number | undefined;
  /** The error behind a 5xx, for the log. */
  cause: unknown;
}

/** A well-formed opening handshake, and the socket that it would take over. */
export interface Upgrade {
  readonly socket: Socket;
  /** Whether the client has said more than its handshake, which has no answer yet (RFC 6455 §4.1 forbids it). */
  readonly spokeEarly: boolean;
  /** Hands the socket over: until then it is read here, so that a client that leaves is noticed. */
  release(): void;
}

/** One request on its way. Written by the phases in order, read by the recorder. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: CheckedResponse;
  /** Unique to this request and ours alone; the audit record's `id`. */
  readonly id: string;
  /** Ours, or a trusted peer's. */
  readonly requestId: string;
  /** The caller's trace where it is valid (W3C Trace Context), else a new one. */
  readonly trace: Trace;
  readonly startedAt: WallMs;
  readonly startedMs: MonotonicMs;
  /** The address that the connection comes from; `unix` where it has none. */
  readonly peer: string;
  /** Whether the peer is one of `trusted_proxies`. */
  readonly peerTrusted: boolean;
  /** Normalized: IPv4-mapped addresses are IPv4. */
  readonly clientAddress: string;
  /** Whether `Expect: 100-continue` waits for our word. */
  readonly expectsContinue: boolean;
  /** Set when a WebSocket is asked for. */
  readonly upgrade: Upgrade | undefined;
  path: string;
  /** Without `?`; empty when absent. */
  query: string;
  route: Route | undefined;
  /** Path parameters of a local endpoint, decoded. */
  params: Readonly<Record<string, string>>;
  principal: Principal;
  /** Set when a credential was presented, verified or not. */
  authType: Principal['authType'];
  /** The public id of the credential presented: a key's id, a token's `jti`. */
  credentialId: string | undefined;
  /** Whom a public endpoint found the caller to be (a login's user), so that the record can name him. */
  identifiedSubject: string | undefined;
  rate: RateDecision | undefined;
  /** What the rules for bodies found; undefined when they found nothing. */
  findings: readonly Finding[] | undefined;
  readonly outcome: Outcome;
  /** Whether the answer says, or will say, that the connection ends with it: what follows is no request. */
  endsConnection: boolean;
  /** What the HTTP parser found wrong in the middle of the body; it decides over what the phases saw. */
  parserFault: Refusal | undefined;
  /** Once the response has been handed over whole, or the connection was cut. */
  readonly ending: Ending;
}
