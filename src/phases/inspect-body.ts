/** Phase 5: is the body what this route takes? It is refused or passed on byte for byte, never rewritten. */
import type { Endpoint } from '../endpoints/endpoint.ts';
import { Refusal } from '../errors.ts';
import type { Body, Exchange, Permit } from '../exchange.ts';
import { decodeUtf8, parseForm, parseJson, tooLarge, wholeBody } from '../http/body.ts';
import { declaredBytes, hasBody, mediaType } from '../http/head.ts';

/**
 * @throws `body_too_large`, `unsupported_media_type`, `malformed_body`
 */
export async function inspectBody(exchange: Exchange, permit: Permit): Promise<Body> {
  const { request } = exchange;
  const { destination, inspect, bodyBytesMax } = permit.route;
  if (destination.kind === 'refusal') return { kind: 'none' };
  // Before a byte is read, and before the client is told to go on.
  if (declaredBytes(request) > bodyBytesMax) throw tooLarge(bodyBytesMax);
  if (destination.kind === 'local') return inspectOwn(exchange, destination.endpoint, bodyBytesMax);
  if (!hasBody(request)) return { kind: 'none' };
  if (inspect === 'json') return inspectJson(exchange, bodyBytesMax);
  return { kind: 'stream', bytesMax: bodyBytesMax };
}

/** `application/json`, or a type built on it such as `application/merge-patch+json`. */
const jsonType = /^application\/(?:[a-z0-9!#$&^_.+-]+\+)?json$/;

async function inspectJson(exchange: Exchange, bytesMax: number): Promise<Body> {
  if (!jsonType.test(mediaType(exchange.request) ?? '')) {
    throw new Refusal('unsupported_media_type', { detail: 'This route takes application/json.' });
  }
  const bytes = await readWhole(exchange, bytesMax);
  return { kind: 'whole', bytes, value: parseJson(decodeUtf8(bytes)) };
}

/** A body for an endpoint of the gateway itself: JSON, or a form where the endpoint takes one. */
async function inspectOwn(exchange: Exchange, endpoint: Endpoint, bytesMax: number): Promise<Body> {
  if (endpoint.bodySchema === undefined) return { kind: 'none' };
  if (!hasBody(exchange.request)) {
    if (endpoint.bodyOptional === true) return { kind: 'whole', bytes: Buffer.alloc(0), value: {} };
    throw new Refusal('malformed_body', { detail: 'A body is needed.' });
  }
  const types: readonly string[] = endpoint.bodyTypes ?? ['application/json'];
  const type = mediaType(exchange.request) ?? '';
  if (!types.includes(type)) {
    throw new Refusal('unsupported_media_type', { detail: `This endpoint takes ${types.join(' or ')}.` });
  }
  const bytes = await readWhole(exchange, bytesMax);
  const text = decodeUtf8(bytes);
  return { kind: 'whole', bytes, value: type === 'application/json' ? parseJson(text) : parseForm(text) };
}

async function readWhole(exchange: Exchange, bytesMax: number): Promise<Buffer> {
  if (exchange.request.headers['content-encoding'] !== undefined) {
    throw new Refusal('unsupported_media_type', { detail: 'A body that is inspected may not be encoded.' });
  }
  if (exchange.expectsContinue) exchange.response.writeContinue();
  return wholeBody(exchange.request, bytesMax);
}
