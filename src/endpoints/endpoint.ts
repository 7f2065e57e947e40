/** An endpoint the gateway answers itself: a route like any other, whose last phase answers locally. */
import type { z } from 'zod';
import type { Exchange, Permit, RoutePermission } from '../exchange.ts';

/** Writes a body part by part. */
export interface BodyWriter {
  /** Whether the client has gone. */
  readonly isOver: boolean;
  /** Resolves once the client has taken enough for more, or has gone. */
  write(text: string): Promise<void>;
  /** Waits `ms`, or less when the client goes. */
  pause(ms: number): Promise<void>;
}

/** What a local endpoint gives back; the phase adds security headers and serializes `json`. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as `application/json`. */
  readonly json?: unknown;
  /** Sent as is; `content-type` must then be in `headers`. */
  readonly body?: string | Buffer;
  /** In place of a body: writes one of unknown length, and resolves at its end. HEAD does without. */
  readonly stream?: (body: BodyWriter) => Promise<void>;
}

/** What an endpoint is called with. */
export interface Call {
  readonly exchange: Exchange;
  readonly permit: Permit;
  /** Path parameters, decoded. */
  readonly params: Readonly<Record<string, string>>;
  /** First value of each query parameter, decoded. */
  readonly query: Readonly<Record<string, string>>;
  /** The parsed and validated body, where `bodySchema` is given. */
  readonly body: unknown;
}

export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  /** As in `/admin/users/{id}`, without the configured prefix. */
  readonly path: string;
  readonly permission: RoutePermission;
  /** The name of a configured class. */
  readonly rateClass: string;
  /** Whether the audit record must be on disk first. */
  readonly durable: boolean;
  readonly summary: string;
  /** Parses the body (an object); fields it names wrong are answered 422. Unknown fields are errors. */
  readonly bodySchema?: z.ZodType;
  /** Content types taken; `application/json` unless given. An empty body counts as `{}` where `bodyOptional`. */
  readonly bodyTypes?: ReadonlyArray<'application/json' | 'application/x-www-form-urlencoded'>;
  readonly bodyOptional?: boolean;
  /** What kind of secret the body holds; the metric of failed credentials has it as a label. */
  readonly secretInBody?: 'password' | 'api_key' | 'refresh_token';
  /** Parses the query; what it names wrong is answered 422. */
  readonly querySchema?: z.ZodType;
  /** For the OpenAPI page: status → schema of the answer. */
  readonly answers: Readonly<Record<number, { readonly description: string; readonly schema?: z.ZodType }>>;
  /** Left out of the OpenAPI page (the page's own files). */
  readonly hidden?: boolean;
  answer(call: Call): Promise<Answer> | Answer;
}
