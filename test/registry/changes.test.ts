import t from 'tap';
import { mergePatch, patchTool } from '../../registry/merge-patch.ts';
import { plainTool, testRegistry } from './registry.ts';

t.test('merge patch: the cases of RFC 7396, appendix A', (t) => {
  const cases: Array<[string, string, string]> = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', '{}'],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', 'null', 'null'],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ['[1,2]', '{"a":"b","c":null}', '{"a":"b"}'],
    ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ];
  for (const [target, patch, result] of cases) {
    t.strictSame(
      mergePatch(JSON.parse(target), JSON.parse(patch)),
      JSON.parse(result),
      `${target} + ${patch}`,
    );
  }
  t.end();
});

t.test('merge patch changes neither argument and no prototype', (t) => {
  const target = { a: { b: 1 } };
  const patch = JSON.parse('{"a":{"c":2},"__proto__":{"polluted":true}}');
  mergePatch(target, patch);
  t.strictSame(target, { a: { b: 1 } });
  t.equal('polluted' in {}, false);
  t.end();
});

t.test('a patch replaces a schema whole and leaves the null in it', (t) => {
  const tool = {
    name: 'x',
    inputSchema: { type: 'object', properties: { a: {} } },
    server: { url: 'u', x: 1 },
  };
  const inputSchema = { type: 'object', default: null };
  t.strictSame(patchTool(tool, { inputSchema, server: { x: null } }), {
    name: 'x',
    inputSchema,
    server: { url: 'u' },
  });
  t.end();
});

t.test('PATCH changes what it names and nothing else', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add({
    ...plainTool('one'),
    title: 'One',
    description: 'Kept',
    outputSchema: { type: 'object' },
    annotations: { readOnlyHint: true, title: 'T' },
    tags: ['a', 'b'],
    server: { transport: 'sse', url: 'http://x/' },
  });
  for (const type of ['application/merge-patch+json', 'application/json; charset=utf-8']) {
    const patch = {
      title: null,
      outputSchema: null,
      annotations: { readOnlyHint: null, openWorldHint: true },
      tags: ['c'],
      inputSchema: { type: 'object', properties: { p: { default: null } } },
      server: { url: 'http://y/' },
    };
    const { status, json } = await registry.send('PATCH', `/tools/${tool.id}`, patch, {
      'content-type': type,
    });
    t.equal(status, 200);
    const { id, created_at, updated_at, ...rest } = json;
    t.strictSame(rest, {
      name: 'one',
      description: 'Kept',
      inputSchema: { type: 'object', properties: { p: { default: null } } },
      annotations: { title: 'T', openWorldHint: true },
      tags: ['c'],
      server: { transport: 'sse', url: 'http://y/' },
      created_by: null,
    });
    t.strictSame((await registry.send('GET', `/tools/${id}`)).json, json);
    t.ok(updated_at >= created_at);
  }
});

t.test('a patch is refused when what it makes is no tool', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add({ ...plainTool('one'), server: { transport: 'sse', url: 'http://x/' } });
  const wrong: Array<[unknown, string]> = [
    [{ name: null }, 'name'],
    [{ inputSchema: null }, 'inputSchema'],
    [{ inputSchema: { properties: {} } }, 'inputSchema.type'],
    [{ inputSchema: 1 }, 'inputSchema'],
    [{ server: { transport: 'stdio' } }, 'server.url'],
    [{ server: { url: null } }, 'server.url'],
    [{ unknown: 1 }, 'unknown'],
    [[], ''],
    ['"text"', ''],
    ['null', ''],
  ];
  for (const [patch, field] of wrong) {
    const { status, json } = await registry.send('PATCH', `/tools/${tool.id}`, patch);
    t.equal(status, 422, JSON.stringify(patch));
    t.equal(json.errors[0].field, field, JSON.stringify(patch));
  }
  t.strictSame((await registry.send('GET', `/tools/${tool.id}`)).json, tool);
});

t.test('If-Match lets a change through only at the version it names', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const etag = async () => (await registry.send('GET', `/tools/${id}`)).headers.get('etag') ?? '';
  const first = await etag();
  const put = (match: string) =>
    registry.send('PUT', `/tools/${id}`, plainTool('one'), { 'if-match': match });
  const changed = await put(first);
  t.equal(changed.status, 200);
  t.not(changed.headers.get('etag'), first);
  t.equal(changed.headers.get('etag'), await etag());
  for (const stale of [first, `W/${await etag()}`, '"x"', 'nonsense', '', '"9007199254740993"']) {
    const { status, json } = await put(stale);
    t.match({ status, json }, { status: 412, json: { code: 'precondition_failed' } }, stale);
  }
  t.equal((await put(`${first} , ${await etag()}`)).status, 200);
  t.equal((await put('*')).status, 200);
  const patch = await registry.send('PATCH', `/tools/${id}`, { title: 'x' }, { 'if-match': first });
  t.equal(patch.status, 412);
  t.equal((await registry.send('DELETE', `/tools/${id}`, undefined, { 'if-match': first })).status, 412);
  t.equal(
    (await registry.send('DELETE', `/tools/${id}`, undefined, { 'if-match': await etag() })).status,
    204,
  );
  t.equal((await put('*')).status, 404);
});

t.test('If-None-Match saves the body of a tool that is known', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const get = (match: string, method = 'GET') =>
    registry.send(method, `/tools/${id}`, undefined, { 'if-none-match': match });
  const etag = (await registry.send('GET', `/tools/${id}`)).headers.get('etag') ?? '';
  for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const { status, text, headers } = await get(known);
    t.strictSame([status, text, headers.get('etag')], [304, '', etag], known);
  }
  t.equal((await get(etag, 'HEAD')).status, 304);
  await registry.send('PATCH', `/tools/${id}`, { title: 'x' });
  t.equal((await get(etag)).status, 200);
});

t.test('of changes made at once on one version exactly one wins', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const etag = (await registry.send('GET', `/tools/${id}`)).headers.get('etag') ?? '';
  const puts = Array.from({ length: 20 }, (_, index) =>
    registry.send('PUT', `/tools/${id}`, { ...plainTool('one'), title: `T${index}` }, { 'if-match': etag }),
  );
  const statuses = (await Promise.all(puts)).map(({ status }) => status);
  t.equal(statuses.filter((status) => status === 200).length, 1);
  t.equal(statuses.filter((status) => status === 412).length, 19);
});

t.test('patches made at once without If-Match lose nothing of each other', async (t) => {
  const registry = await testRegistry(t);
  const { id } = await registry.add(plainTool('one'));
  const fields = [
    { title: 'T' },
    { version: '1' },
    { description: 'D' },
    { tags: ['x'] },
    { annotations: {} },
  ];
  const patches = fields.map((field) => registry.send('PATCH', `/tools/${id}`, field));
  t.ok((await Promise.all(patches)).every(({ status }) => status === 200));
  t.match((await registry.send('GET', `/tools/${id}`)).json, Object.assign({}, ...fields));
});

t.test('of tools registered at once under one name exactly one is', async (t) => {
  const registry = await testRegistry(t);
  const posts = Array.from({ length: 10 }, () => registry.send('POST', '/tools', plainTool('one')));
  const statuses = (await Promise.all(posts)).map(({ status }) => status).sort();
  t.strictSame(statuses, [201, ...Array(9).fill(409)]);
});
