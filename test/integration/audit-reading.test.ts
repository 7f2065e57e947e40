/** The audit log over HTTP: pages, filters and cursors, and the stream with all the ways it ends. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import t, { type Test } from 'tap';
import { readEvents, type StreamEvent } from '../../src/audit/reading/event-stream.ts';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';

const rateless = readFileSync('gateway.yaml', 'utf8').replaceAll(
  /rate: [^}]*\/minute"? }/g,
  'rate: 100000/minute }',
);

interface Page {
  readonly replica: string;
  readonly items: ReadonlyArray<Record<string, unknown>>;
  readonly next_cursor: string | null;
}

async function start(t: Test, yaml = rateless): Promise<TestGateway> {
  const gateway = await startTestGateway({ directory: t.testdir(), yaml });
  t.teardown(() => gateway.close());
  return gateway;
}

async function pageOf(gateway: TestGateway, query: string): Promise<Page> {
  const response = await gateway.admin('GET', `/admin/audit${query}`);
  if (response.status !== 200) throw new Error(await response.text());
  return (await response.json()) as Page;
}

class Stream {
  readonly events: StreamEvent[] = [];
  readonly status: number;
  readonly done: Promise<void>;
  readonly #abort: AbortController;

  constructor(response: Response, abort: AbortController) {
    this.status = response.status;
    this.#abort = abort;
    this.done = this.#read(response).catch(() => undefined);
  }

  async #read(response: Response): Promise<void> {
    if (response.body === null) return;
    for await (const event of readEvents(response.body)) this.events.push(event);
  }

  get paths(): unknown[] {
    return this.events
      .filter(({ name }) => name === 'message')
      .map(({ data }) => (JSON.parse(data) as { path: string }).path);
  }

  async until(condition: (stream: Stream) => boolean): Promise<void> {
    const deadlineMs = performance.now() + 20_000;
    while (!condition(this)) {
      if (performance.now() > deadlineMs) throw new Error(JSON.stringify(this.events.slice(-5)));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  close(): void {
    this.#abort.abort();
  }
}

async function follow(
  t: Test,
  gateway: TestGateway,
  token: string,
  { query = '', lastEventId }: { query?: string; lastEventId?: string } = {},
): Promise<Stream> {
  const abort = new AbortController();
  t.teardown(() => abort.abort());
  const response = await fetch(`${gateway.trafficUrl}/admin/audit/stream${query}`, {
    headers: {
      authorization: `Bearer ${token}`,
      ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
    },
    signal: abort.signal,
  });
  return new Stream(response, abort);
}

function adminToken(gateway: TestGateway): Promise<string> {
  return logIn(gateway.trafficUrl, gateway.first.admin.username, gateway.first.password);
}

t.test('a page names its replica, and the request that asks for it is in it', async (t) => {
  const gateway = await start(t);
  await fetch(`${gateway.trafficUrl}/nothing-here`);
  const { replica, items } = await pageOf(gateway, '?limit=3');
  t.equal(replica, 'test');
  t.match(items[0], { stage: 'attempt', path: '/admin/audit', query_params: 'limit=3' });
  t.equal(items.length, 3);
});

t.test('filters and cursors', async (t) => {
  const gateway = await start(t);
  for (let count = 0; count < 10; count += 1) await fetch(`${gateway.trafficUrl}/nothing/${count}`);
  const denied = await pageOf(gateway, '?status=4xx&decision=deny&code=credential_missing');
  t.strictSame(
    denied.items.map(({ path }) => path),
    [...Array(10).keys()].reverse().map((count) => `/nothing/${count}`),
  );
  t.equal((await pageOf(gateway, '?path=/nothing/3')).items.length, 1);
  t.equal((await pageOf(gateway, '?path=/nothing/3&status=200')).items.length, 0);
  t.equal((await pageOf(gateway, '?from=2000-01-01T00:00:00&to=2001-01-01T00:00:00Z')).items.length, 0);
  const me = String(denied.items[0]?.principal);
  t.equal(me, 'null');
  const mine = await pageOf(gateway, `?principal=user:${gateway.first.admin.id}&limit=2`);
  t.ok(mine.items.every(({ principal }) => principal === `user:${gateway.first.admin.id}`));
  const older = await pageOf(
    gateway,
    `?principal=user:${gateway.first.admin.id}&limit=2&cursor=${mine.next_cursor}`,
  );
  t.ok(Number(older.items[0]?.seq) < Number(mine.items[1]?.seq));
});

t.test('what is asked for wrongly is 422, field by field', async (t) => {
  const gateway = await start(t);
  for (const [query, field] of [
    ['status=4x', 'status'],
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['from=yesterday', 'from'],
    ['decision=maybe', 'decision'],
    ['cursor=rubbish', 'cursor'],
    ['what=ever', 'what'],
  ] as const) {
    const response = await gateway.admin('GET', `/admin/audit?${query}`);
    t.equal(response.status, 422, query);
    t.match(await response.json(), { errors: [{ field }] });
  }
});

t.test('a cursor of another replica is refused, and named', async (t) => {
  const gateway = await start(t);
  const cursor = `${Buffer.from('other/7').toString('base64url')}.0123456789abcdef-1`;
  const response = await gateway.admin('GET', `/admin/audit?cursor=${cursor}`);
  t.equal(response.status, 422);
  t.match(await response.text(), /replica other\/7/);
});

t.test('only an admin reads, and reading is on record before it is done', async (t) => {
  const gateway = await start(t);
  for (const path of ['/admin/audit', '/admin/audit/stream']) {
    const response = await fetch(gateway.trafficUrl + path, {
      headers: { authorization: `Bearer ${gateway.first.key.key}` },
    });
    t.equal(response.status, 403);
  }
  await pageOf(gateway, '');
  t.match(
    (await gateway.audit()).filter(({ path, status_code }) => path === '/admin/audit' && status_code !== 403),
    [{ stage: 'attempt' }, { stage: 'complete', status_code: 200 }],
  );
});

t.test('the stream gives what matches from now on, and its own record at its end', async (t) => {
  const gateway = await start(t);
  await fetch(`${gateway.trafficUrl}/before`);
  await gateway.auditLog.flush();
  const stream = await follow(t, gateway, await adminToken(gateway), { query: '?status=401' });
  await stream.until(({ events }) => events[0]?.name === 'hello');
  t.match(stream.events[0]?.data, '"replica":"test"');
  for (let count = 0; count < 5; count += 1) await fetch(`${gateway.trafficUrl}/after/${count}`);
  await stream.until(({ paths }) => paths.length === 5);
  t.strictSame(
    stream.paths,
    [...Array(5).keys()].map((count) => `/after/${count}`),
  );
  const own = async () =>
    (await gateway.audit()).filter(
      ({ path, stage }) => path === '/admin/audit/stream' && stage === 'complete',
    );
  t.strictSame(await own(), []);
  stream.close();
  await stream.done;
  await stream.until(() => true);
  t.match(await own(), [{ status_code: 499, code: 'client_closed' }]);
});

t.test('Last-Event-ID goes on where it was left', async (t) => {
  const gateway = await start(t);
  const token = await adminToken(gateway);
  const first = await follow(t, gateway, token, { query: '?status=401' });
  await first.until(({ events }) => events.length > 0);
  await fetch(`${gateway.trafficUrl}/0`);
  await first.until(({ paths }) => paths.length === 1);
  const lastEventId = first.events.at(-1)?.id ?? '';
  first.close();
  for (let count = 1; count < 4; count += 1) await fetch(`${gateway.trafficUrl}/${count}`);
  const second = await follow(t, gateway, token, { query: '?status=401', lastEventId });
  await second.until(({ paths }) => paths.length === 3);
  t.strictSame(second.paths, ['/1', '/2', '/3']);
  const lost = await follow(t, gateway, token, { lastEventId: '0123456789abcdef-1' });
  await lost.until(({ events }) => events.some(({ name }) => name === 'gap'));
  t.pass('a place that is not here is told of');
});

t.test('no more readers than configured; a place is free again once one has gone', async (t) => {
  const gateway = await start(t, rateless.replace('  sinks:', '  readers: { max: 1 }\n  sinks:'));
  const token = await adminToken(gateway);
  const first = await follow(t, gateway, token);
  t.equal(first.status, 200);
  const second = await follow(t, gateway, token);
  t.equal(second.status, 503);
  first.close();
  await first.done;
  let third = second;
  for (let tries = 0; tries < 50 && third.status !== 200; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    third = await follow(t, gateway, token);
  }
  t.equal(third.status, 200);
});

t.test('the stream ends when the credential behind it is revoked', async (t) => {
  const gateway = await start(t);
  const password = 'correct horse battery';
  const made = await gateway.admin('POST', '/admin/users', { username: 'second', password, is_admin: true });
  const { id } = (await made.json()) as { id: string };
  const stream = await follow(t, gateway, await logIn(gateway.trafficUrl, 'second', password));
  await stream.until(({ events }) => events.length > 0);
  await gateway.admin('PATCH', `/admin/users/${id}`, { is_admin: false });
  await stream.done;
  t.match(stream.events.at(-1), { name: 'end', data: '{"reason":"credential"}' });
});

t.test('the stream ends when the gateway does, and does not hold it up', async (t) => {
  const gateway = await startTestGateway({ directory: t.testdir(), yaml: rateless });
  const stream = await follow(t, gateway, await adminToken(gateway));
  await stream.until(({ events }) => events.length > 0);
  const startMs = performance.now();
  await gateway.close();
  await stream.done;
  t.match(stream.events.at(-1), { name: 'end', data: '{"reason":"draining"}' });
  t.ok(performance.now() - startMs < 8_000);
});

t.test('a reader that takes nothing is cut off, and costs no memory meanwhile', async (t) => {
  const yaml = rateless.replace('listen: {', 'listen: { timeouts: { stall: 1s },');
  const gateway = await start(t, yaml);
  const token = await adminToken(gateway);
  const { hostname, port } = new URL(gateway.trafficUrl);
  const socket = connect(Number(port), hostname);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.on('error', () => undefined);
  socket.write(`GET /admin/audit/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  socket.pause();
  const query = 'x'.repeat(2_000);
  let isClosed = false;
  void closed.then(() => {
    isClosed = true;
  });
  for (let round = 0; round < 100 && !isClosed; round += 1) {
    await Promise.all(
      [...Array(50).keys()].map((count) =>
        fetch(`${gateway.trafficUrl}/${count}?${query}`).then((r) => r.text()),
      ),
    );
    const recorded = await gateway.audit();
    isClosed ||= recorded.some(({ path, stage }) => path === '/admin/audit/stream' && stage === 'complete');
  }
  t.ok(isClosed);
  socket.destroy();
});

t.test('without a file there is nothing to read, and no endpoint', async (t) => {
  const stdout = new PassThrough();
  stdout.resume();
  const yaml = rateless.replace(/- \{ type: file.*/, '- { type: stdout }');
  const gateway = await startTestGateway({ directory: t.testdir(), yaml, stdout });
  t.teardown(() => gateway.close());
  t.equal((await gateway.admin('GET', '/admin/audit')).status, 404);
});
