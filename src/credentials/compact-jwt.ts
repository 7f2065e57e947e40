/** The outer form of a JWT (RFC 7515 §3.1, §7.1), read more strictly than libraries do, before any signature is checked. */
import { Refusal } from '../errors.ts';
import { tokenCharsMax, tokenDepthMax } from '../limits.ts';
import { parseStrictJson, StrictJsonError } from './strict-json.ts';

export interface CompactJwt {
  readonly header: Readonly<Record<string, unknown>>;
  /** Not to be believed until the signature is verified. */
  readonly payload: Readonly<Record<string, unknown>>;
  readonly signature: Buffer;
}

const threeParts = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/;

/**
 * What costs nothing: length and alphabet.
 * @throws Refusal `invalid_credential` with reason `too_large` or `malformed`
 */
export function requireCompactForm(text: string): readonly [string, string, string] {
  if (text.length > tokenCharsMax) throw new Refusal('invalid_credential', { reason: 'too_large' });
  const [, header, payload, signature] = threeParts.exec(text) ?? [];
  if (header === undefined || payload === undefined || signature === undefined) throw malformed();
  return [header, payload, signature];
}

/** @throws Refusal `invalid_credential` with reason `too_large` or `malformed` */
export function readCompactJwt(text: string): CompactJwt {
  const [header, payload, signature] = requireCompactForm(text);
  return { header: objectOf(header), payload: objectOf(payload), signature: bytesOf(signature) };
}

/**
 * Decoded, encoded again and compared: the last character has unused bits, and with any value allowed there one
 * signature would have up to sixteen spellings, each a new entry in a cache or a list of revoked tokens.
 */
function bytesOf(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url');
  if (bytes.toString('base64url') !== part) throw malformed();
  return bytes;
}

function objectOf(part: string): Record<string, unknown> {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesOf(part));
    const value = parseStrictJson(text, tokenDepthMax);
    if (isObject(value)) return value;
  } catch (error) {
    if (!(error instanceof StrictJsonError) && !(error instanceof TypeError)) throw error;
  }
  throw malformed();
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(): Refusal {
  return new Refusal('invalid_credential', { reason: 'malformed' });
}
