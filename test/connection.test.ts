/** What is kept of a connection between two requests. */
import { Socket } from 'node:net';
import t from 'tap';
import { Connection } from '../src/connection.ts';
import { exchangeOf } from './support/exchange.ts';

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
