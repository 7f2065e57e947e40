/** Answers and records what never became a request, or fell out of its phases: the same error table, straight to the socket. */
import { randomUUID } from 'node:crypto';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type AuditRecord, bareRecord } from './audit/record.ts';
import { errorKinds, Refusal } from './errors.ts';
import type { Gateway } from './gateway.ts';
import { refusalBody, refusalHeaders } from './http/answer-error.ts';
import { normalizeAddress } from './http/client-address.ts';
import { lingerMs } from './limits.ts';

/** @param request where the parser has got as far as that */
export function refuse(gateway: Gateway, socket: Duplex, refusal: Refusal, request?: IncomingMessage): void {
  const id = randomUUID();
  gateway.recorder.refusedByParser(recordOf(gateway, socket, refusal, request, id));
  writeAndClose(gateway, socket, refusal, id);
}

/**
 * An error that no phase saw is the 500 of its request: recorded, the connection closed, and the process goes on.
 * @param answered whether an answer may be on its way already, which another one would garble
 * @throws what the recorder throws: what cannot be recorded leaves the state in doubt
 */
export function contain(
  gateway: Gateway,
  socket: Duplex,
  error: unknown,
  request: IncomingMessage | undefined,
  answered: boolean,
): void {
  const id = randomUUID();
  const refusal = new Refusal('internal_error');
  gateway.recorder.fault(recordOf(gateway, socket, refusal, request, id), error);
  if (answered) socket.destroy();
  else writeAndClose(gateway, socket, refusal, id);
}

/** Writes a refusal past node:http, whose own answer would lack our headers, and closes. */
export function writeAndClose(
  { policy }: Gateway,
  socket: Duplex,
  refusal: Refusal,
  requestId: string,
): void {
  // Nobody is there, or nobody who could read it.
  if (refusal.code === 'client_closed' || refusal.code === 'tls_on_http_port') socket.destroy();
  if (socket.destroyed || !socket.writable) return;
  const body = refusalBody(refusal, requestId);
  const headers = [
    ...policy.security.flat(),
    ...Object.entries(refusalHeaders(refusal)).flat(),
    ...['X-Request-Id', requestId, 'Content-Length', String(Buffer.byteLength(body)), 'Connection', 'close'],
  ];
  const lines = [`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status] ?? ''}`];
  for (let index = 0; index < headers.length; index += 2)
    lines.push(`${headers[index]}: ${headers[index + 1]}`);
  socket.end(`${lines.join('\r\n')}\r\n\r\n${body}`);
  // A reset would take the answer with it, so the client gets a moment to read.
  setTimeout(() => socket.destroy(), lingerMs).unref();
}

function recordOf(
  { policy }: Gateway,
  socket: Duplex,
  refusal: Refusal,
  request: IncomingMessage | undefined,
  id: string,
): AuditRecord {
  const clientIp = normalizeAddress((socket as Socket).remoteAddress) ?? 'unix';
  return {
    ...bareRecord(policy.clock.wallMs(), id, clientIp),
    method: request?.method ?? '',
    status_code: refusal.status,
    decision: errorKinds[refusal.code].source === 'downstream' ? 'deny' : 'error',
    code: refusal.code,
    reason: refusal.reason ?? null,
  };
}
