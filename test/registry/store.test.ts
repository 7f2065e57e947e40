import { sql } from 'kysely';
import t from 'tap';
import { asserted, plainTool, tablesOf, testRegistry } from './registry.ts';

t.test('a fault is 500, is logged with its request id, and shows nothing of the inside', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  await sql`update tool set input_schema = '{broken'`.execute(tablesOf(t, registry));
  const { status, json, text } = await registry.send('GET', `/tools/${id}`, undefined, {
    'x-request-id': 'fault-1',
  });
  t.match({ status, json }, { status: 500, json: { code: 'internal_error', request_id: 'fault-1' } });
  t.notMatch(text, /broken|JSON at|registry\/|at /);
  t.ok(registry.log.some((line) => line.includes('"request_id":"fault-1"') && line.includes('SyntaxError')));
  t.equal((await registry.send('GET', '/health')).status, 200);
});

t.test('health fails when the database does', async (t) => {
  const registry = await testRegistry(t);
  const tables = tablesOf(t, registry);
  // PostgreSQL will not drop what others lean on; SQLite has no such order.
  await sql`alter table tool rename to gone`.execute(tables);
  const { status, json } = await registry.send('GET', '/health');
  t.equal(status, 500);
  t.match(json.code, 'internal_error');
});

t.test('a client that leaves in the middle of its body leaves no trace', async (t) => {
  const registry = await testRegistry(t);
  const leaving = new AbortController();
  const body = new ReadableStream({
    start: (stream) => {
      stream.enqueue(Buffer.from('{"name":"half"'));
      setTimeout(() => leaving.abort(), 50);
    },
  });
  const headers = asserted('POST', '/tools', { 'content-type': 'application/json' });
  const post = fetch(`${registry.url}/tools`, {
    method: 'POST',
    headers,
    body,
    duplex: 'half',
    signal: leaving.signal,
  });
  await t.rejects(post);
  t.equal((await registry.send('GET', '/tools')).json.total, 0);
  t.strictSame(registry.log, []);
});
