/** The opening handshake of a WebSocket (RFC 6455 §4), read strictly: what is not exactly one is refused, never passed on. */
import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Refusal } from '../errors.ts';

/** 16 bytes in Base64, and in one spelling: the last character has four bits to say. */
const keyForm = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** Headers of the handshake that may stand once, and those that it has no use for. */
const singletons = ['upgrade', 'sec-websocket-key', 'sec-websocket-version'];
const strangers = ['content-length', 'transfer-encoding', 'http2-settings'];

/** Whether `Upgrade` names the WebSocket protocol among others, so that some server might open one. */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && /(?:^|[\s,])websocket(?:$|[\s,/;])/i.test(headers.upgrade);
}

/** Why a request that asks for a WebSocket is no handshake for one; undefined when it is one. */
export function handshakeFault(request: IncomingMessage): Refusal | undefined {
  const { method, httpVersion, headers } = request;
  const counts = new Map<string, number>();
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    const name = (request.rawHeaders[index] ?? '').toLowerCase().replaceAll('_', '-');
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const isWell =
    method === 'GET' &&
    httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    nominatesUpgrade(headers.connection) &&
    singletons.every((name) => counts.get(name) === 1) &&
    !strangers.some((name) => counts.has(name)) &&
    keyForm.test(headers['sec-websocket-key'] ?? '');
  if (!isWell) return new Refusal('malformed_handshake');
  if (headers['sec-websocket-version'] === '13') return undefined;
  // RFC 6455 §4.4, and RFC 9110 §15.5.22 for the other two.
  const told = { 'Sec-WebSocket-Version': '13', Upgrade: 'websocket', Connection: 'close, Upgrade' };
  return new Refusal('websocket_version', { headers: told });
}

function nominatesUpgrade(connection: string | undefined): boolean {
  return connection?.split(',').some((name) => name.trim().toLowerCase() === 'upgrade') === true;
}

/** RFC 6455 §1.3. */
const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Whether a 101 answers this very handshake: anything else may be a server that was talked into a tunnel. */
export function isAcceptance(headers: IncomingHttpHeaders, key: string): boolean {
  const expected = createHash('sha1')
    .update(key + acceptGuid)
    .digest('base64');
  return (
    headers.upgrade?.toLowerCase() === 'websocket' &&
    nominatesUpgrade(headers.connection) &&
    headers['sec-websocket-accept'] === expected
  );
}
