/**
 * An independent reader of HTTP/1.1 requests, as strict as RFC 9112 can be read: whatever another parser might read
 * differently is an error here. It judges what the gateway has sent, and shares nothing with it.
 */
export interface StrictRequest {
  readonly method: string;
  readonly target: string;
  /** In order, as they were written. */
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>;
  /** Decoded where it came in chunks. */
  readonly body: string;
}

export interface StrictReading {
  readonly requests: readonly StrictRequest[];
  /** The request in the middle of which the bytes end; empty when they end with one that is whole. */
  readonly cutOff: string;
}

/** The bytes end where more are needed. */
class CutOff extends Error {}

/**
 * @param bytes all that one connection has carried, in latin1
 * @throws what is wrong with them
 */
export function readStrictly(bytes: string): StrictReading {
  const requests: StrictRequest[] = [];
  let rest = bytes;
  while (rest !== '') {
    try {
      const [request, after] = readOne(rest);
      requests.push(request);
      rest = after;
    } catch (error) {
      if (error instanceof CutOff) return { requests, cutOff: rest };
      throw error;
    }
  }
  return { requests, cutOff: '' };
}

/** The values of a header, whatever its case. */
export function strictValues({ headers }: StrictRequest, name: string): string[] {
  return headers.filter(([given]) => given.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

function readOne(bytes: string): [StrictRequest, rest: string] {
  const end = bytes.indexOf('\r\n\r\n');
  const head = end === -1 ? bytes : bytes.slice(0, end);
  const [requestLine = '', ...lines] = head.split('\r\n');
  // Also of a head that is cut off: it has been sent, and somebody may have read it.
  if (/[\r\n\0]/.test(head.replaceAll('\r\n', '').replace(/\r$/, '')))
    throw new Error(`a control character in the head: ${JSON.stringify(head)}`);
  if (end === -1) throw new CutOff();
  const [, method = '', target = ''] = /^([A-Z-]{3,16}) (\/[\x21-\x7e]*) HTTP\/1\.1$/.exec(requestLine) ?? [];
  if (method === '') throw new Error(`not a request line: ${JSON.stringify(requestLine)}`);
  const headers = lines.map(readHeader);
  const [body, rest] = readBody({ method, target, headers, body: '' }, bytes.slice(end + 4));
  return [{ method, target, headers, body }, rest];
}

function readHeader(line: string): [name: string, value: string] {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/.exec(line);
  if (match === null) throw new Error(`not a header: ${JSON.stringify(line)}`);
  return [match[1] ?? '', (match[2] ?? '').trim()];
}

function readBody(request: StrictRequest, after: string): [body: string, rest: string] {
  const hosts = strictValues(request, 'host');
  const lengths = strictValues(request, 'content-length');
  const codings = strictValues(request, 'transfer-encoding');
  if (hosts.length !== 1) throw new Error(`${hosts.length} Hosts`);
  if (lengths.length + codings.length > 1) throw new Error('more than one framing');
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') throw new Error(`Transfer-Encoding: ${codings[0]}`);
    return readChunks(after);
  }
  const length = lengths[0] ?? '0';
  if (!/^(?:0|[1-9]\d{0,14})$/.test(length)) throw new Error(`Content-Length: ${length}`);
  if (after.length < Number(length)) throw new CutOff();
  return [after.slice(0, Number(length)), after.slice(Number(length))];
}

function readChunks(after: string): [body: string, rest: string] {
  let body = '';
  let rest = after;
  for (;;) {
    const mark = rest.indexOf('\r\n');
    const size = mark === -1 ? rest : rest.slice(0, mark);
    if (!/^[0-9a-fA-F]{0,8}\r?$/.test(size)) throw new Error(`a chunk of size ${JSON.stringify(size)}`);
    if (mark === -1) throw new CutOff();
    const bytes = Number.parseInt(size, 16);
    if (Number.isNaN(bytes)) throw new Error('a chunk without a size');
    const data = rest.slice(mark + 2, mark + 2 + bytes);
    const close = rest.slice(mark + 2 + bytes, mark + 4 + bytes);
    if (data.length < bytes || close.length < 2) throw new CutOff();
    if (close !== '\r\n') throw new Error('a chunk that does not end where it said, or a trailer');
    body += data;
    rest = rest.slice(mark + 4 + bytes);
    if (bytes === 0) return [body, rest];
  }
}
