/** Reading a request's body whole, and what it says. Bodies are never rewritten. */
import type { IncomingMessage } from 'node:http';
import secureJson from 'secure-json-parse';
import { Refusal } from '../errors.ts';
import { type JsonBounds, JsonFault, type JsonReader, scanJson } from '../inspection/json-scan.ts';
import { BoundedBody } from './bounded-body.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The whole body. @throws `body_too_large`, `client_closed` */
export function wholeBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    new BoundedBody(request, bytesMax, false)
      .on('data', (chunk) => chunks.push(chunk))
      .on('end', () => resolve(Buffer.concat(chunks)))
      .on('error', reject)
      .resume();
  });
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
 * Parses JSON that can be read in one way only and stays within bounds; refuses prototype poisoning.
 * @param reader sees every string, name and number, and may refuse
 * @throws `malformed_body`, and what `reader` throws
 */
export function parseJson(text: string, bounds: JsonBounds, reader?: JsonReader): unknown {
  // The parser would take a byte-order mark off, and the upstream's might not.
  if (text.startsWith('\ufeff'))
    throw new Refusal('malformed_body', { detail: 'The JSON starts with a byte-order mark.' });
  try {
    // Before the parser builds anything, which may be a hundred times as large as the text.
    scanJson(text, bounds, reader);
    return secureJson.parse(text, undefined, { protoAction: 'error', constructorAction: 'error' });
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('malformed_body', { detail: whyMalformed(error) });
  }
}

/** The parser's own message quotes the body, which may hold a password: it is not kept. */
function whyMalformed(error: unknown): string {
  if (error instanceof JsonFault) return error.message;
  if (error instanceof SyntaxError && error.message === poisonMessage)
    return 'The JSON has a key that would poison a prototype: __proto__, or prototype in constructor.';
  return 'The body is not well-formed JSON.';
}

/** What secure-json-parse says. */
const poisonMessage = 'Object contains forbidden prototype property';

/** Parses `application/x-www-form-urlencoded`; a field given twice is refused. @throws `malformed_body` */
export function parseForm(text: string): Record<string, string> {
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(text)) {
    if (fields.has(name)) throw new Refusal('malformed_body', { detail: 'A form field is given twice.' });
    fields.set(name, value);
  }
  return Object.fromEntries(fields);
}
