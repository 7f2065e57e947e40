import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import t from 'tap';
import { Connection } from '../src/connection.ts';
import { trustOf } from '../src/http/client-address.ts';
import { exchangeOf } from './support/exchange.ts';

function connectionFrom(remoteAddress: string | undefined) {
  const socket = Object.assign(new EventEmitter(), { remoteAddress });
  return { socket, connection: new Connection(socket as unknown as Socket) };
}

t.test('a peer has its address in one form, and is trusted by the configuration that asks', async (t) => {
  const { connection } = connectionFrom('::ffff:10.0.0.1');
  const [nobody, network] = [trustOf([]), trustOf(['10.0.0.0/8'])];
  t.strictSame(connection.peerBy(nobody), { address: '10.0.0.1', isTrusted: false });
  t.strictSame(connection.peerBy(network), { address: '10.0.0.1', isTrusted: true });
  t.strictSame(connection.peerBy(nobody), { address: '10.0.0.1', isTrusted: false });
});

t.test('a peer without an address is one of a Unix socket', async (t) => {
  t.equal(connectionFrom(undefined).connection.peerBy(trustOf([])).address, 'unix');
});

t.test('an exchange ends once: with its response, or with the connection', async (t) => {
  const { socket, connection } = connectionFrom('192.0.2.1');
  const response = new EventEmitter();
  const told: string[] = [];
  connection.endingOf(response).whenOver(() => told.push('first'));
  connection.endingOf(new EventEmitter()).whenOver(() => told.push('second'));
  t.strictSame(told, []);
  response.emit('close');
  t.strictSame(told, ['first']);
  socket.emit('close');
  t.strictSame(told, ['first', 'second']);
  connection.endingOf(new EventEmitter()).whenOver(() => told.push('late'));
  t.strictSame(told, ['first', 'second', 'late']);
});

t.test('a listener that throws keeps no other from hearing of the end', async (t) => {
  const { socket, connection } = connectionFrom('192.0.2.1');
  const told: string[] = [];
  const [first, second] = [connection.endingOf(new EventEmitter()), connection.endingOf(new EventEmitter())];
  first.whenOver(() => {
    throw new Error('a fault in a listener');
  });
  first.whenOver(() => told.push('first'));
  second.whenOver(() => told.push('second'));
  t.throws(() => socket.emit('close'), { message: 'a fault in a listener' });
  t.strictSame(told, ['first', 'second']);
});

/** A connection whose last request has come whole, or not. */
function after({ complete, endsConnection = false }: { complete: boolean; endsConnection?: boolean }) {
  const connection = new Connection(new Socket());
  connection.last = exchangeOf({}, { endsConnection });
  connection.last.request.complete = complete;
  connection.rest();
  return connection;
}

t.test('a request that is over is not kept', async (t) => {
  const connection = after({ complete: true });
  t.equal(connection.last, undefined);
  t.notOk(connection.ends);
  t.notOk(connection.isBusy);
});

t.test('that its answer was the last one is kept', async (t) => {
  const connection = after({ complete: true, endsConnection: true });
  t.equal(connection.last, undefined);
  t.ok(connection.ends);
});

t.test('a request whose body is still to come is kept: a fault in it is told of it', async (t) => {
  t.not(after({ complete: false }).last, undefined);
});
