/** Phase 5: is the body what this route takes? It is refused or passed on byte for byte, never rewritten. */
import type { Endpoint } from '../endpoints/endpoint.ts';
import { Refusal } from '../errors.ts';
import type { Body, Exchange, Permit, Route } from '../exchange.ts';
import { decodeUtf8, parseForm, parseJson, wholeBody } from '../http/body.ts';
import { tooLarge } from '../http/bounded-body.ts';
import { declaredBytes, hasBody } from '../http/head.ts';
import { hasItsBoundary, isAllowed, isJsonType, isUtf8, mediaTypeOf } from '../http/media-type.ts';
import type { Inspection } from '../inspection/inspection.ts';
import type { Finding } from '../inspection/rules.ts';
import { endpointJsonMax } from '../limits.ts';

/**
 * Without a promise where nothing has to be read; it may throw before there is one.
 * @throws `body_too_large`, `unsupported_media_type`, `malformed_body`, `content_refused`, `validation_failed`
 */
export function inspectBody(exchange: Exchange, permit: Permit): Body | Promise<Body> {
  const { request } = exchange;
  const { destination, inspection, contentTypes, bodyBytesMax } = permit.route;
  if (destination.kind === 'refusal') return { kind: 'none' };
  // Before a byte is read, and before the client is told to go on.
  if (declaredBytes(request) > bodyBytesMax) throw tooLarge(bodyBytesMax);
  if (destination.kind === 'local') return inspectOwn(exchange, destination.endpoint, bodyBytesMax);
  if (!hasBody(request)) return withoutBody(inspection);
  if (inspection !== undefined || contentTypes !== undefined) checkType(exchange, permit.route);
  if (inspection !== undefined) return inspectJson(exchange, inspection, bodyBytesMax);
  return { kind: 'stream', bytesMax: bodyBytesMax };
}

function withoutBody(inspection: Inspection | undefined): Body {
  if (inspection?.needsBody === true) throw new Refusal('malformed_body', { detail: 'A body is needed.' });
  return { kind: 'none' };
}

function checkType({ request }: Exchange, { inspection, contentTypes }: Route): void {
  const type = mediaTypeOf(request);
  const isTaken = contentTypes === undefined ? isJsonType : (given: string) => isAllowed(given, contentTypes);
  if (type === undefined || !isTaken(type.essence)) {
    const taken = contentTypes ?? ['application/json'];
    throw new Refusal('unsupported_media_type', { detail: `This route takes ${taken.join(', ')}.` });
  }
  if (inspection !== undefined && !isUtf8(type))
    throw new Refusal('unsupported_media_type', { detail: 'This route takes UTF-8 alone.' });
  if (!hasItsBoundary(type))
    throw new Refusal('unsupported_media_type', { detail: 'A multipart body needs its boundary.' });
}

async function inspectJson(exchange: Exchange, inspection: Inspection, bytesMax: number): Promise<Body> {
  const bytes = await readWhole(exchange, bytesMax);
  const findings: Finding[] = [];
  try {
    return { kind: 'whole', bytes, value: inspection.judge(decodeUtf8(bytes), findings) };
  } finally {
    if (findings.length > 0) exchange.findings = findings;
  }
}

/** A body for an endpoint of the gateway itself: JSON, or a form where the endpoint takes one. */
async function inspectOwn(exchange: Exchange, endpoint: Endpoint, bytesMax: number): Promise<Body> {
  if (endpoint.bodySchema === undefined) return { kind: 'none' };
  if (!hasBody(exchange.request)) {
    if (endpoint.bodyOptional === true) return { kind: 'whole', bytes: Buffer.alloc(0), value: {} };
    throw new Refusal('malformed_body', { detail: 'A body is needed.' });
  }
  const types: readonly string[] = endpoint.bodyTypes ?? ['application/json'];
  const type = mediaTypeOf(exchange.request);
  if (type === undefined || !types.includes(type.essence) || !isUtf8(type)) {
    throw new Refusal('unsupported_media_type', { detail: `This endpoint takes ${types.join(' or ')}.` });
  }
  const bytes = await readWhole(exchange, bytesMax);
  const text = decodeUtf8(bytes);
  const isJson = type.essence === 'application/json';
  return { kind: 'whole', bytes, value: isJson ? parseJson(text, endpointJsonMax) : parseForm(text) };
}

async function readWhole(exchange: Exchange, bytesMax: number): Promise<Buffer> {
  if (exchange.request.headers['content-encoding'] !== undefined) {
    throw new Refusal('unsupported_media_type', { detail: 'A body that is inspected may not be encoded.' });
  }
  if (exchange.expectsContinue) exchange.response.writeContinue();
  return wholeBody(exchange.request, bytesMax);
}
