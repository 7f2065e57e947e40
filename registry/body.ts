/** Reads a request's JSON body: bounded while it arrives, refused when it could be read in two ways. */
import type { IncomingMessage } from 'node:http';
import { parse } from 'secure-json-parse';
import { type FieldError, Refusal } from './errors.ts';
import { isDeeperThan, isJsonObject, type Json } from './json.ts';
import { bodyBytesMax, bodyDrainBytesMax, fieldErrorsMax, nestingDepthMax } from './limits.ts';

/**
 * @param mediaTypes those the endpoint takes, in lower case, without parameters
 * @throws Refusal `unsupported_media_type`, `body_too_large`, `malformed_body`; `validation_failed` for a field
 *   that nests too deep
 */
export async function readJson(request: IncomingMessage, mediaTypes: readonly string[]): Promise<Json> {
  refuseOtherMediaTypes(request, mediaTypes);
  const body = parseJson(await readBody(request));
  refuseDeepNesting(body);
  return body;
}

function refuseOtherMediaTypes(request: IncomingMessage, mediaTypes: readonly string[]): void {
  const { 'content-type': contentType = '', 'content-encoding': encoding = 'identity' } = request.headers;
  const [mediaType = '', ...parameters] = contentType.toLowerCase().split(';');
  const charset = parameters.map((parameter) => parameter.trim()).find((one) => one.startsWith('charset='));
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  if (mediaTypes.includes(mediaType.trim()) && isUtf8 && encoding.toLowerCase() === 'identity') return;
  throw new Refusal('unsupported_media_type', {
    detail: `Send the body as ${mediaTypes.join(' or ')}, in UTF-8, without a Content-Encoding.`,
    // RFC 5789 §2.2: what a PATCH may be written in.
    headers: request.method === 'PATCH' ? { 'accept-patch': mediaTypes.join(', ') } : {},
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  if (Number(request.headers['content-length'] ?? 0) > bodyDrainBytesMax) throw unreadRefusal();
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Leaving the loop must not destroy the socket: the refusal is still to be sent on it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
    if (bytes > bodyDrainBytesMax) throw unreadRefusal();
  }
  if (bytes > bodyBytesMax) throw new Refusal('body_too_large');
  return Buffer.concat(chunks);
}

/** The rest of the body is not waited for, so the connection cannot be used again. */
function unreadRefusal(): Refusal {
  return new Refusal('body_too_large', { headers: { connection: 'close' } });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseJson(bytes: Buffer): Json {
  try {
    return parse(utf8.decode(bytes), null, { protoAction: 'error', constructorAction: 'error' });
  } catch (cause) {
    throw new Refusal('malformed_body', { cause });
  }
}

/** Before anything walks the body by recursion. */
function refuseDeepNesting(body: Json): void {
  const fields: Array<[string, Json]> = isJsonObject(body) ? Object.entries(body) : [['', body]];
  const errors: FieldError[] = fields
    .filter(([, value]) => isDeeperThan(value, nestingDepthMax))
    .map(([field]) => ({ field, message: `must not nest deeper than ${nestingDepthMax} levels` }));
  if (errors.length > 0) throw new Refusal('validation_failed', { errors: errors.slice(0, fieldErrorsMax) });
}
