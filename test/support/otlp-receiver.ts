/** A receiver of OTLP over HTTP that reads what it gets by the official protobuf schema, and behaves as a test says. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import root from 'otlp-schema/build/src/generated/root.js';

/** The part of the generated code that is used; its own types do not name what is in it. */
interface Schema {
  readonly opentelemetry: {
    readonly proto: { readonly collector: { readonly trace: { readonly v1: TraceSchema } } };
  };
}

interface TraceSchema {
  readonly ExportTraceServiceRequest: {
    /** @throws for what does not follow the schema */
    decode(bytes: Uint8Array): object;
    toObject(message: object, options: object): unknown;
  };
}

const { ExportTraceServiceRequest } = (root as unknown as Schema).opentelemetry.proto.collector.trace.v1;

type Value = string | number | boolean | undefined;

interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first of a trace. */
  readonly parentSpanId: string;
  /** 2 is a server's, 3 a client's. */
  readonly kind: number;
  readonly name: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Readonly<Record<string, Value>>;
  /** 0 is unset, 2 an error. */
  readonly status: number;
  readonly resource: Readonly<Record<string, Value>>;
}

export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** The heads of the exports. */
  readonly heads: IncomingHttpHeaders[];
  /** The bodies, as they came. */
  readonly bodies: Buffer[];
  /** Waits for so many spans; 15 s at most. */
  received(count: number): Promise<ReceivedSpan[]>;
  close(): Promise<void>;
}

/** @param respond takes what was received; 200 unless given */
export async function startOtlpReceiver(
  respond: (response: ServerResponse) => void = (response) => response.end(),
): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const heads: IncomingHttpHeaders[] = [];
  const bodies: Buffer[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.method !== 'POST' || request.url !== '/v1/traces') {
      response.writeHead(404).end();
      return;
    }
    heads.push(request.headers);
    bodies.push(Buffer.concat(chunks));
    spans.push(...spansIn(Buffer.concat(chunks)));
    respond(response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    heads,
    bodies,
    received: async (count) => {
      for (let tries = 0; tries < 150 && spans.length < count; tries += 1) await delay(100);
      if (spans.length < count) throw new Error(`${spans.length} spans within 15 s, not ${count}`);
      return spans;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

interface KeyValue {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly intValue?: string | number };
}

interface WireSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly kind: number;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes?: readonly KeyValue[];
  readonly status?: { readonly code?: number };
}

interface WireRequest {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: readonly KeyValue[] };
    readonly scopeSpans: ReadonlyArray<{ readonly spans: readonly WireSpan[] }>;
  }>;
}

function spansIn(body: Buffer): ReceivedSpan[] {
  const message = ExportTraceServiceRequest.decode(body);
  const request = ExportTraceServiceRequest.toObject(message, {
    longs: String,
    bytes: String,
  }) as WireRequest;
  return request.resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) =>
      scope.spans.map((span) => ({
        traceId: hex(span.traceId),
        spanId: hex(span.spanId),
        parentSpanId: hex(span.parentSpanId ?? ''),
        kind: span.kind,
        name: span.name,
        startNs: BigInt(span.startTimeUnixNano),
        endNs: BigInt(span.endTimeUnixNano),
        attributes: valuesIn(span.attributes),
        status: span.status?.code ?? 0,
        resource: valuesIn(resource.attributes),
      })),
    ),
  );
}

function hex(base64: string): string {
  return Buffer.from(base64, 'base64').toString('hex');
}

function valuesIn(pairs: readonly KeyValue[] = []): Record<string, Value> {
  return Object.fromEntries(
    pairs.map(({ key, value }) => [
      key,
      value.stringValue ?? (value.intValue === undefined ? undefined : Number(value.intValue)),
    ]),
  );
}
