/** W3C Trace Context: a valid `traceparent` continues, a bad one is replaced; `tracestate` only with a valid parent. */
import type { IncomingHttpHeaders } from 'node:http';
import { randomHex } from './random-hex.ts';

export interface Trace {
  readonly traceId: string;
  /** Flat name-value list for the upstream. */
  readonly headers: readonly string[];
}

const traceparentForm = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const tracestateCharsMax = 512;

export function continueTrace(headers: IncomingHttpHeaders): Trace {
  const parent = headers.traceparent;
  const traceId = typeof parent === 'string' ? traceparentForm.exec(parent)?.[1] : undefined;
  if (typeof parent !== 'string' || traceId === undefined) return startTrace();
  const state = headers.tracestate;
  const keepsState = typeof state === 'string' && state.length <= tracestateCharsMax;
  return { traceId, headers: ['traceparent', parent, ...(keepsState ? ['tracestate', state] : [])] };
}

/** A new trace, not sampled: that is for a tracer to decide. */
function startTrace(): Trace {
  const id = randomHex(24);
  const traceId = id.slice(0, 32);
  return { traceId, headers: ['traceparent', `00-${traceId}-${id.slice(32)}-00`] };
}
