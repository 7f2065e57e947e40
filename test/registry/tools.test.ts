import t from 'tap';
import { plainTool, testRegistry } from './registry.ts';

const everything = {
  name: 'get_weather',
  title: "O'Reilly <3 SELECT",
  description: 'Says what the weather will be; "quoted", \\ and 天気 🌦\nin two lines',
  inputSchema: {
    type: 'object',
    properties: { city: { type: 'string', default: null }, $ref: { $ref: '#/$defs/x' } },
    $defs: { x: { enum: [null, 1] } },
    required: ['city'],
  },
  outputSchema: { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object' },
  annotations: { title: 'Weather', readOnlyHint: true, openWorldHint: false },
  tags: ['weather', 'Wetter & Klima'],
  version: '1.2.0',
  server: { url: 'https://tools.example.com/mcp?x=1', transport: 'streamable-http' },
};

t.test('a tool comes back as it was written, with what the registry adds', async (t) => {
  const registry = await testRegistry(t, () => Date.UTC(2026, 0, 2, 3, 4, 5, 6));
  const created = await registry.send('POST', '/tools', everything, {
    'x-auth-subject': 'corp:a%20b%2F%C3%BC',
  });
  t.equal(created.status, 201);
  const { id, created_at, updated_at, created_by, ...fields } = created.json;
  t.strictSame(fields, everything);
  t.equal(created.headers.get('location'), `/tools/${id}`);
  t.equal(created.headers.get('content-type'), 'application/json');
  t.match(created.headers.get('etag'), /^"[^"]+"$/);
  t.equal(created_at, '2026-01-02T03:04:05.006Z');
  t.equal(updated_at, created_at);
  t.equal(created_by, 'corp:a b/ü');
  const read = await registry.send('GET', `/tools/${id}`);
  t.equal(read.text, created.text);
  t.equal(read.headers.get('etag'), created.headers.get('etag'));
});

t.test('the order of the members of a schema is kept', async (t) => {
  const registry = await testRegistry(t);
  const text = '{"properties":{"b":{},"a":{}},"title":"x","type":"object"}';
  const created = await registry.send('POST', '/tools', `{"inputSchema":${text},"name":"ordered"}`);
  t.ok(created.text.includes(text));
});

t.test('what was never given is absent, but tags and created_by are always there', async (t) => {
  const registry = await testRegistry(t);
  const created = await registry.add(plainTool('bare'));
  t.strictSame(Object.keys(created).sort(), [
    'created_at',
    'created_by',
    'id',
    'inputSchema',
    'name',
    'tags',
    'updated_at',
  ]);
  t.strictSame(created.tags, []);
  t.equal(created.created_by, null);
});

t.test('with assertions off, a subject that cannot be decoded is kept as it stands', async (t) => {
  const registry = await testRegistry(t, Date.now, 'off');
  for (const [index, subject] of ['user:%', 'user:%0a', 'user:%FF'].entries()) {
    const created = await registry.send('POST', '/tools', plainTool(`s${index}`), {
      'x-auth-subject': subject,
    });
    t.equal(created.json.created_by, subject);
  }
});

t.test('names differ by case and take the characters that MCP names', async (t) => {
  const registry = await testRegistry(t);
  for (const name of ['a', 'A', 'DATA_EXPORT_v2', 'admin.tools-list', '..', 'x'.repeat(128)]) {
    t.equal((await registry.send('POST', '/tools', plainTool(name))).status, 201, name);
  }
});

t.test('a name that is taken is a conflict, on creation and on change', async (t) => {
  const registry = await testRegistry(t);
  await registry.add(plainTool('one'));
  const two = await registry.add(plainTool('two'));
  const answers = [
    await registry.send('POST', '/tools', plainTool('one')),
    await registry.send('PUT', `/tools/${two.id}`, plainTool('one')),
    await registry.send('PATCH', `/tools/${two.id}`, { name: 'one' }),
  ];
  for (const { status, json } of answers)
    t.match({ status, json }, { status: 409, json: { code: 'conflict' } });
  t.equal((await registry.send('GET', `/tools/${two.id}`)).json.name, 'two');
});

t.test('PUT replaces the tool whole and keeps what the registry set', async (t) => {
  let now = Date.UTC(2026, 0, 1);
  const registry = await testRegistry(t, () => now);
  const before = (await registry.send('POST', '/tools', everything, { 'x-auth-subject': 'user:1' })).json;
  now += 1_000;
  const put = await registry.send('PUT', `/tools/${before.id}`, plainTool('renamed'), {
    'x-auth-subject': 'user:2',
  });
  t.equal(put.status, 200);
  t.strictSame(put.json, {
    ...plainTool('renamed'),
    tags: [],
    id: before.id,
    created_by: 'user:1',
    created_at: '2026-01-01T00:00:00.000Z',
    updated_at: '2026-01-01T00:00:01.000Z',
  });
});

t.test('a tool that was read can be changed and sent back as it is', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add(everything);
  const put = await registry.send('PUT', `/tools/${tool.id}`, { ...tool, version: '2' });
  t.equal(put.status, 200);
  t.equal(put.json.version, '2');
});

t.test('what only the registry sets cannot be written', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add(plainTool('mine'));
  const forged = { created_by: 'user:admin', id: '00000000-0000-4000-8000-000000000000' };
  const answers = [
    await registry.send('POST', '/tools', { ...plainTool('other'), ...forged }),
    await registry.send('PUT', `/tools/${tool.id}`, { ...tool, ...forged }),
    await registry.send('PATCH', `/tools/${tool.id}`, forged),
  ];
  for (const { status, json } of answers) {
    t.equal(status, 422);
    t.strictSame(json.errors.map((error: { field: string }) => error.field).sort(), ['created_by', 'id']);
  }
});

t.test('a removed tool is gone, from the lists and from search', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add(everything);
  const removed = await registry.send('DELETE', `/tools/${tool.id}`);
  t.equal(removed.status, 204);
  t.equal(removed.text, '');
  for (const method of ['GET', 'PUT', 'PATCH', 'DELETE']) {
    const body = method === 'GET' || method === 'DELETE' ? undefined : plainTool('x');
    t.equal((await registry.send(method, `/tools/${tool.id}`, body)).status, 404, method);
  }
  t.equal((await registry.send('GET', '/tools')).json.total, 0);
  t.equal((await registry.send('GET', '/tools?tag=weather')).json.total, 0);
  t.equal((await registry.send('GET', '/tools/search?q=weather')).json.total, 0);
});

t.test('HEAD answers like GET, without the body', async (t) => {
  const registry = await testRegistry(t);
  const tool = await registry.add(everything);
  for (const path of ['/tools', '/tools/search?q=weather', `/tools/${tool.id}`, '/health', '/openapi.json']) {
    const [get, head] = [await registry.send('GET', path), await registry.send('HEAD', path)];
    t.equal(head.status, 200, path);
    t.equal(head.text, '');
    t.equal(head.headers.get('content-length'), get.headers.get('content-length'));
  }
});

t.test('health asks the database', async (t) => {
  const registry = await testRegistry(t);
  const reply = await registry.send('GET', '/health');
  t.equal(reply.status, 200);
  t.strictSame(reply.json, { status: 'ok' });
});
