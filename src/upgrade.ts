/** Upgrades: a well-formed WebSocket handshake leaves node:http's hands and takes the way of any request. */
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Config } from './config/schema.ts';
import type { Connection } from './connection.ts';
import { Refusal } from './errors.ts';
import type { Exchange, Upgrade } from './exchange.ts';
import { beginExchange, type Gateway, handle } from './gateway.ts';
import type { Generations } from './generations.ts';
import { CheckedResponse } from './http/checked-response.ts';
import { Tunnels } from './http/tunnels.ts';
import { asksForWebSocket, handshakeFault } from './http/websocket.ts';
import { lingerMs } from './limits.ts';
import { contain } from './refuse.ts';

/** @param onCount told how many there are */
export function openTunnels({ websockets, auth }: Config, onCount: (open: number) => void): Tunnels {
  return new Tunnels({
    max: websockets.open,
    perCallerMax: websockets.per_caller,
    stalenessMaxMs: auth.staleness_max,
    onCount,
  });
}

/**
 * Whether node:http lets go of the connection. Anything else, another protocol or a malformed handshake, stays an
 * ordinary request: phase 1 refuses the latter, and of the former the upstream hears nothing.
 */
function isUpgrade(request: IncomingMessage, { last, ends, turnedAway }: Connection): boolean {
  // Behind another request it would have to wait for that one's answer, which node:http does not do for it.
  const isFree = last === undefined || (last.response.writableFinished && last.response.socket === null);
  if (!isFree || ends || turnedAway) return false;
  return asksForWebSocket(request) && handshakeFault(request) === undefined;
}

/** @param connectionOf what is known of a socket's connection */
export function takeUpgrades(
  server: Server,
  generations: Generations,
  connectionOf: (socket: Duplex) => Connection,
): void {
  const shouldUpgradeCallback = (request: IncomingMessage) =>
    isUpgrade(request, connectionOf(request.socket));
  Object.assign(server, { shouldUpgradeCallback });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const connection = connectionOf(socket);
    // Where the rest of a connection is to be ignored, nobody is asked before.
    if (!isUpgrade(request, connection)) return socket.destroy();
    const turn = generations.begin();
    const inForce = () => generations.current;
    const handled = begin(turn.gateway, inForce, request, socket, head, connection).finally(turn.end);
    turn.gateway.tunnels.keep(
      socket,
      handled.catch((error) => contain(generations.current, socket, error, request, true)),
    );
  });
}

async function begin(
  gateway: Gateway,
  inForce: () => Gateway,
  request: IncomingMessage,
  socket: Socket,
  head: Buffer,
  connection: Connection,
): Promise<void> {
  const response = responseOn(socket, request);
  const upgrade = guarded(socket, head, () => exchange);
  const exchange = beginExchange(gateway, { request, response, connection, upgrade });
  connection.last = exchange;
  await handle(gateway, exchange, inForce);
  await exchange.ending.over();
}

/** What the phases answer with, should they refuse; the connection ends with it. */
function responseOn(socket: Socket, request: IncomingMessage): CheckedResponse {
  const response = new CheckedResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => {
    if (response.statusCode === 101) return;
    socket.end();
    // A reset would take the answer with it, so the client gets a moment to read.
    setTimeout(() => socket.destroy(), lingerMs).unref();
  });
  return response;
}

/**
 * From here on nobody else hears of this socket. A client that leaves is noticed because it is read, and one that goes
 * on speaking before it has its answer is cut off: what it says could be meant for an upstream that has not agreed.
 */
function guarded(socket: Socket, head: Buffer, exchangeOf: () => Exchange): Upgrade {
  const onData = () => {
    if (exchangeOf().response.headersSent) return;
    exchangeOf().parserFault ??= new Refusal('malformed_handshake');
    socket.destroy();
  };
  const onEnd = () => socket.destroy();
  socket.on('error', () => socket.destroy());
  // It takes nothing of its answer.
  socket.on('timeout', () => socket.destroy());
  socket.on('data', onData);
  socket.on('end', onEnd);
  return {
    socket,
    spokeEarly: head.length > 0,
    release: () => {
      socket.off('data', onData);
      socket.off('end', onEnd);
    },
  };
}
