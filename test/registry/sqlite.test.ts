import Sqlite from 'better-sqlite3';
import t from 'tap';
import {
  plainTool,
  program,
  runRegistry,
  sender,
  settings,
  type TestRegistry,
  temporaryDirectory,
  testRegistry,
} from './registry.ts';

const unavailable = { status: 503, json: { code: 'store_unavailable', retry_after: 1 } };
const pathOf = ({ databaseUrl }: TestRegistry) => databaseUrl.slice('sqlite:'.length);

t.test('a database that another process has locked is 503, and well again afterwards', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const other = new Sqlite(pathOf(registry));
  t.teardown(() => other.close());
  other.exec('begin immediate');
  for (const [method, path, body] of [
    ['POST', '/tools', plainTool('two')],
    ['PUT', `/tools/${id}`, plainTool('one')],
    ['PATCH', `/tools/${id}`, { title: 'x' }],
    ['DELETE', `/tools/${id}`, undefined],
  ] as const) {
    const { status, json, text } = await registry.send(method, path, body, {
      'x-request-id': `id-${method}`,
    });
    t.match({ status, json }, unavailable, method);
    t.notMatch(text, /sqlite|locked|busy/i);
    t.ok(registry.log.some((line) => line.includes(`"request_id":"id-${method}"`)));
  }
  t.equal((await registry.send('GET', `/tools/${id}`)).status, 200, 'reading goes on');
  other.exec('rollback');
  t.equal((await registry.send('POST', '/tools', plainTool('two'))).status, 201);
});

t.test('a disk that takes no more is 503; what was there can still be read', async (t) => {
  const environment = settings(temporaryDirectory(t));
  // A limit of 300 KiB for every file it writes. tap's own hooks would take SIGXFSZ for the end.
  const registry = runRegistry(t, environment, [
    '/bin/bash',
    '-c',
    `unset NODE_OPTIONS; ulimit -f 300; exec "${process.execPath}" "${program}"`,
  ]);
  const send = sender(await registry.listening());
  const large = (index: number) => ({ ...plainTool(`tool_${index}`), description: 'word '.repeat(3_000) });
  let stored = 0;
  let last = await send('POST', '/tools', large(0));
  for (; last.status === 201 && stored < 200; stored += 1)
    last = await send('POST', '/tools', large(stored + 1));
  t.match({ status: last.status, json: last.json }, unavailable);
  t.equal((await send('GET', '/health')).status, 200);
  const { total } = (await send('GET', '/tools?page_size=1')).json;
  t.equal(total, stored);
  t.equal((await send('GET', '/tools/search?q=word&page_size=1')).json.total, stored, 'the index is in step');
});

t.test('tools survive the end of the process that wrote them', async (t) => {
  const registry = await testRegistry(t);
  await registry.add(plainTool('one'));
  await registry.close();
  const database = new Sqlite(pathOf(registry), { readonly: true });
  t.teardown(() => database.close());
  t.strictSame(database.prepare('select name from tool').all(), [{ name: 'one' }]);
  t.strictSame(
    database.prepare("select name from sqlite_master where name like '%registry_migration'").all(),
    [{ name: 'registry_migration' }],
  );
});
