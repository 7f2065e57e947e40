/**
 * undici's request, with a way to say header lines that need no look by its own hand, and to be told an answer's header lines
 * as they came. undici looks up every name in a table and every name of the answer in a tree: 3 µs a request.
 */
import { createRequire } from 'node:module';
import type undici from 'undici';

const require = createRequire(import.meta.url);

/** What a request says in its head. */
export interface RequestHead {
  /** Name and value in turn: what undici frames the request by and, where `lines` is empty, all the rest. */
  readonly headers: readonly string[];
  /** Whole header lines, each with its CRLF. */
  readonly lines: string;
}

/** An answer's header lines: names and values in turn, in latin1. */
export type RawHeaders = readonly Buffer[];

/** In place of undici's list, which it would make an object of. */
class Untouched {
  readonly raw: RawHeaders;

  constructor(raw: RawHeaders) {
    this.raw = raw;
  }
}

/** What undici takes for a value, too: anything else could end the line. */
const forbidden = /[^\t\x20-\x7e\x80-\xff]/;

/**
 * @param flat name and value in turn; each name is a token (RFC 9110 §5.1), as all are that the parser lets pass
 * @returns without lines where a value could not stand in one: undici says then what is wrong with it
 */
export function requestHead(flat: readonly string[]): RequestHead {
  const headers: string[] = [];
  let lines = '';
  for (let index = 0; index < flat.length; index += 2) {
    const [name, value] = [flat[index] ?? '', flat[index + 1] ?? ''];
    if (framesRequest(name)) headers.push(name, value);
    else if (forbidden.test(value)) return { headers: flat, lines: '' };
    else lines += `${name}: ${value}\r\n`;
  }
  return { headers, lines };
}

/** Said by undici in its own words and place and held against the body, or refused by it. */
const framing = new Set([
  'host',
  'content-length',
  'connection',
  'expect',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);
const framingLengths = new Set([...framing].map(({ length }) => length));

function framesRequest(name: string): boolean {
  return framingLengths.has(name.length) && framing.has(name.toLowerCase());
}

/** The header lines of an answer to a request that had `lines`, an empty text included. */
export function rawHeadersOf({ rawHeaders }: undici.Dispatcher.DispatchController): RawHeaders {
  const told: unknown = rawHeaders;
  if (told instanceof Untouched) return told.raw;
  return Array.isArray(told) ? (told as Buffer[]) : [];
}

/** undici's own, as `new` is called and as the parser calls it; not documented. */
interface UndiciRequest {
  readonly headers: string[];
  onResponseStart(status: number, headers: unknown, resume: () => void, text: string): unknown;
}
type UndiciRequestClass = new (
  origin: unknown,
  options: { readonly lines?: string },
  handler: unknown,
) => UndiciRequest;

const UndiciRequest = require('undici/lib/core/request.js') as UndiciRequestClass;

class CheckedRequest extends UndiciRequest {
  readonly #isOurs: boolean;

  constructor(origin: unknown, options: { readonly lines?: string }, handler: unknown) {
    super(origin, options, handler);
    const { lines } = options;
    this.#isOurs = lines !== undefined;
    if (lines === undefined || lines === '') return;
    // It writes `NAME: VALUE CRLF` for each: all the lines are the first one's value.
    const colon = lines.indexOf(': ');
    this.headers.push(lines.slice(0, colon), lines.slice(colon + 2, -2));
  }

  override onResponseStart(status: number, headers: unknown, resume: () => void, text: string): unknown {
    const told = this.#isOurs && Array.isArray(headers) ? new Untouched(headers) : headers;
    return super.onResponseStart(status, told, resume, text);
  }
}

/** undici's client, which makes such requests of what it is given to dispatch. */
export const CheckedClient = clientWith(CheckedRequest);

/** A copy of its own: whoever else uses undici in this process gets the usual one. */
function clientWith(Request: UndiciRequestClass): typeof undici.Client {
  const [request, client] = ['undici/lib/core/request.js', 'undici/lib/dispatcher/client.js'].map((path) =>
    require.resolve(path),
  ) as [string, string];
  const { cache } = require;
  const usual = cache[client];
  const own = cache[request];
  if (own === undefined) throw new Error('undici has no request where this class looks for it');
  try {
    delete cache[client];
    own.exports = Request;
    return require(client);
  } finally {
    own.exports = UndiciRequest;
    if (usual === undefined) delete cache[client];
    else cache[client] = usual;
  }
}
