/** W3C Trace Context: a valid `traceparent` continues, a bad one is replaced; `tracestate` only with a valid parent. */
import type { IncomingHttpHeaders } from 'node:http';
import { randomHex } from './random-hex.ts';

export interface Trace {
  readonly traceId: string;
  /** Flat name-value list for the upstream. */
  readonly headers: readonly string[];
  /** The spans that are made of the request once it is over; undefined where it is not sampled. */
  readonly spans: SpanIds | undefined;
}

/** Ids of spans, 16 hex digits each. */
interface SpanIds {
  /** The caller's span; undefined where the trace begins here. */
  readonly parent: string | undefined;
  readonly server: string;
  /** The upstream request's, which the upstream continues. */
  readonly client: string;
}

/** Whether a request is sampled. @param parentSampled what a trusted peer has decided; undefined where none has */
export type Sampling = (parentSampled: boolean | undefined) => boolean;

const traceparentForm = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;
const tracestateCharsMax = 512;

/** §3.2.2.5.1; the random flag is of Level 2, and nobody but who began the trace may set it. */
const sampledFlag = 0x01;
const randomFlag = 0x02;

/** A trace in which nothing is made here: what the caller sent goes on as it is. */
export function continueTrace(headers: IncomingHttpHeaders): Trace {
  const parent = parentOf(headers);
  if (parent === undefined) return startTrace();
  return {
    traceId: parent.traceId,
    headers: ['traceparent', parent.text, ...stateOf(headers)],
    spans: undefined,
  };
}

/** A trace that spans may be made for. What an untrusted peer has decided is neither followed nor passed on. */
export function sampleTrace(headers: IncomingHttpHeaders, peerTrusted: boolean, samples: Sampling): Trace {
  const parent = parentOf(headers);
  const parentSampled = parent && (parent.flags & sampledFlag) !== 0;
  const isSampled = samples(peerTrusted ? parentSampled : undefined);
  if (!isSampled) return parent === undefined ? startTrace() : unsampled(parent, headers);
  const ids = randomHex(parent === undefined ? 32 : 16);
  const spans = { parent: parent?.spanId, server: ids.slice(0, 16), client: ids.slice(16, 32) };
  const traceId = parent?.traceId ?? ids.slice(32);
  const flags = sampledFlag | ((parent?.flags ?? 0) & randomFlag);
  return {
    traceId,
    headers: [
      'traceparent',
      traceparent(traceId, spans.client, flags),
      ...(parent === undefined ? [] : stateOf(headers)),
    ],
    spans,
  };
}

/** The caller's span stays the parent, since none is made here. */
function unsampled({ traceId, spanId, flags }: Parent, headers: IncomingHttpHeaders): Trace {
  const text = traceparent(traceId, spanId, flags & randomFlag);
  return { traceId, headers: ['traceparent', text, ...stateOf(headers)], spans: undefined };
}

/** A new trace, not sampled. */
function startTrace(): Trace {
  const id = randomHex(24);
  const traceId = id.slice(0, 32);
  return {
    traceId,
    headers: ['traceparent', traceparent(traceId, id.slice(32), 0)],
    spans: undefined,
  };
}

interface Parent {
  readonly text: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
}

function parentOf({ traceparent: text }: IncomingHttpHeaders): Parent | undefined {
  const [, traceId, spanId, flags] = (typeof text === 'string' && traceparentForm.exec(text)) || [];
  if (typeof text !== 'string' || traceId === undefined || spanId === undefined || flags === undefined)
    return undefined;
  return { text, traceId, spanId, flags: Number.parseInt(flags, 16) };
}

function stateOf({ tracestate: state }: IncomingHttpHeaders): string[] {
  const isKept = typeof state === 'string' && state.length <= tracestateCharsMax;
  return isKept ? ['tracestate', state] : [];
}

function traceparent(traceId: string, spanId: string, flags: number): string {
  return `00-${traceId}-${spanId}-0${flags}`;
}
