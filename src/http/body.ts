/** Reading a request's body within a bound, whole or as a stream. Bodies are never rewritten. */
import type { IncomingMessage } from 'node:http';
import secureJson from 'secure-json-parse';
import { Refusal } from '../errors.ts';
import { jsonDepthMax } from '../limits.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The body as it comes, cut off with `body_too_large` at the first chunk above the bound. Leaving the loop early
 * leaves the socket alone, so that an answer can still be sent.
 */
export async function* boundedChunks(request: IncomingMessage, bytesMax: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  for await (const chunk of untilClientLeaves(request)) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw tooLarge(bytesMax);
    yield chunk;
  }
}

/** @param bytesMax what would have been taken */
export function tooLarge(bytesMax: number): Refusal {
  return new Refusal('body_too_large', {
    detail: `The body is larger than the ${bytesMax} bytes this route takes.`,
  });
}

/** The body's chunks. @throws `client_closed` when the rest will not come */
async function* untilClientLeaves(request: IncomingMessage): AsyncGenerator<Buffer> {
  const chunks = request.iterator({ destroyOnReturn: false });
  try {
    yield* chunks;
  } catch (cause) {
    throw new Refusal('client_closed', { cause });
  }
}

/** The whole body. @throws `body_too_large`, `client_closed` */
export async function wholeBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of boundedChunks(request, bytesMax)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Strict UTF-8; a byte-order mark stays, and is then no JSON. @throws `malformed_body` */
export function decodeUtf8(bytes: Buffer): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new Refusal('malformed_body', { detail: 'The body is not UTF-8.', cause });
  }
}

/**
 * Parses JSON, refusing prototype poisoning and nesting deeper than `jsonDepthMax`.
 * @throws `malformed_body`
 */
export function parseJson(text: string): unknown {
  // The parser would take a byte-order mark off, and the upstream's might not.
  if (text.startsWith('\ufeff'))
    throw new Refusal('malformed_body', { detail: 'The JSON starts with a byte-order mark.' });
  if (isTooDeep(text))
    throw new Refusal('malformed_body', { detail: `The JSON is nested deeper than ${jsonDepthMax}.` });
  try {
    return secureJson.parse(text, undefined, { protoAction: 'error', constructorAction: 'error' });
  } catch {
    // The parser's message quotes the body, which may hold a password: it is not kept.
    throw new Refusal('malformed_body', { detail: 'The body is not well-formed JSON.' });
  }
}

/** Counts brackets outside strings, before the parser builds anything. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charCodeAt(index);
    if (inString) {
      if (character === 0x5c) index += 1;
      else if (character === 0x22) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x7b || character === 0x5b) {
      depth += 1;
      if (depth > jsonDepthMax) return true;
    } else if (character === 0x7d || character === 0x5d) depth -= 1;
  }
  return false;
}

/** Parses `application/x-www-form-urlencoded`; a field given twice is refused. @throws `malformed_body` */
export function parseForm(text: string): Record<string, string> {
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(text)) {
    if (fields.has(name)) throw new Refusal('malformed_body', { detail: 'A form field is given twice.' });
    fields.set(name, value);
  }
  return Object.fromEntries(fields);
}
