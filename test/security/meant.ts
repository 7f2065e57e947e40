/**
 * What a client has asked for in so many words: the requests of a byte stream as RFC 9112 lets a server read them, up
 * to the first byte that could be read in another way. It is the yardstick of the fuzzer, and shares nothing with the
 * gateway or with node:http.
 */
interface MeantRequest {
  readonly method: string;
  readonly target: string;
  /** Decoded where it came in chunks. */
  readonly body: string;
  readonly credentials: readonly string[];
}

export interface Meant {
  readonly requests: MeantRequest[];
  /** The request line, as HTTP/1.1 has it, of every request begun, whole or not. */
  readonly lines: readonly string[];
}

export function readAsMeant(bytes: string): Meant {
  const requests: MeantRequest[] = [];
  const lines: string[] = [];
  let rest = bytes;
  for (;;) {
    // A server should overlook empty lines before a request (RFC 9112 §2.2), and may take bare LF for their end.
    rest = rest.replace(/^[\r\n]+/, '');
    const head = readHead(rest);
    if (head === undefined) return { requests, lines };
    lines.push(`${head.method} ${head.target} HTTP/1.1`);
    const body = readBody(head, rest.slice(head.length));
    if (body === undefined) return { requests, lines };
    const { method, target, credentials } = head;
    requests.push({ method, target, credentials, body: body.text });
    rest = rest.slice(head.length + body.length);
  }
}

interface Head {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly fields: ReadonlyArray<readonly [name: string, value: string]>;
  readonly credentials: readonly string[];
  /** Bytes, with the empty line. */
  readonly length: number;
}

function readHead(bytes: string): Head | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1) return undefined;
  const [first = '', ...rest] = bytes.slice(0, end).split('\r\n');
  // RFC 9112 §3 allows more than one space. The parser of node:http also takes other protocols of this syntax for HTTP,
  // and tells nobody; as they have one reading, and go on as HTTP/1.1, they are let be.
  const [, method = '', target = '', version = ''] =
    /^([A-Z-]{1,20}) +(\/[\x21-\x7e]*) +(?:HTTP|RTSP|ICE)\/(1\.[01])$/.exec(first) ?? [];
  const fields = rest.map((line) => /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/.exec(line));
  if (method === '' || fields.includes(null)) return undefined;
  const pairs = fields.map((field) => [(field?.[1] ?? '').toLowerCase(), trimmed(field?.[2] ?? '')] as const);
  return { method, target, version, fields: pairs, credentials: credentialsOf(pairs), length: end + 4 };
}

/** OWS is space and tab, and nothing else (RFC 9110 §5.6.3). */
function trimmed(value: string): string {
  return value.replace(/^[ \t]+|[ \t]+$/g, '');
}

function credentialsOf(fields: Head['fields']): string[] {
  return fields.flatMap(([name, value]) => {
    if (name === 'x-api-key') return [value];
    return name === 'authorization' ? [value.replace(/^bearer +/i, '')] : [];
  });
}

interface BodyRead {
  readonly text: string;
  readonly length: number;
}

function readBody({ version, fields }: Head, after: string): BodyRead | undefined {
  const values = (name: string) => fields.filter(([given]) => given === name).map(([, value]) => value);
  const lengths = values('content-length');
  const codings = values('transfer-encoding');
  if (lengths.length + codings.length > 1) return undefined;
  if (codings.length === 1)
    return codings[0]?.toLowerCase() === 'chunked' && version === '1.1' ? readChunks(after) : undefined;
  const length = lengths[0] ?? '0';
  if (!/^\d{1,15}$/.test(length) || after.length < Number(length)) return undefined;
  return { text: after.slice(0, Number(length)), length: Number(length) };
}

/** Extensions and trailers are allowed (RFC 9112 §7.1), and stay behind. */
function readChunks(after: string): BodyRead | undefined {
  let text = '';
  let at = 0;
  for (;;) {
    const size = /^([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n/.exec(
      after.slice(at, at + 20_000),
    );
    if (size === null) return undefined;
    const bytes = Number.parseInt(size[1] ?? '', 16);
    at += size[0].length;
    if (bytes === 0) return readTrailers(text, after, at);
    text += after.slice(at, at + bytes);
    if (after.slice(at + bytes, at + bytes + 2) !== '\r\n') return undefined;
    at += bytes + 2;
  }
}

function readTrailers(text: string, after: string, start: number): BodyRead | undefined {
  const end = after.startsWith('\r\n', start) ? start : after.indexOf('\r\n\r\n', start) + 2;
  if (end < start) return undefined;
  const trailers = after.slice(start, end).split('\r\n').slice(0, -1);
  const isField = (line: string) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/.test(line);
  return trailers.every(isField) ? { text, length: end + 2 } : undefined;
}
