/** How often: the five classes, every header, and what a flood of bad credentials can and cannot do. */
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { startTestRegistry } from '../support/registry.ts';

async function start(t: Test, env: Record<string, string> = {}, clock?: Clock): Promise<TestGateway> {
  const directory = t.testdir();
  const registry = await startTestRegistry(directory, clock);
  const gateway = await startTestGateway({
    directory,
    registry,
    env,
    ...(clock && { clock }),
  });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  return gateway;
}

t.test('each class has its rate, and each caller a bucket of its own in it', async (t) => {
  const gateway = await start(t);
  const key = { 'x-api-key': gateway.first.key.key };
  for (const [method, path, name, limit] of [
    ['GET', '/health', 'public', 100],
    ['GET', '/tools', 'read', 60],
    ['POST', '/tools', 'write', 20],
    ['POST', '/auth/logout', 'write', 20],
    ['GET', '/auth/me', 'read', 60],
  ] as const) {
    const response = await fetch(gateway.trafficUrl + path, { method, headers: key });
    t.equal(response.headers.get('x-ratelimit-limit'), String(limit), `${method} ${path}`);
    t.equal(response.headers.get('ratelimit-policy'), `"${name}";q=${limit};w=60`);
  }
  for (const [method, path, name, limit] of [
    ['GET', '/admin/users', 'admin', 10],
    ['DELETE', '/tools/x', 'delete', 10],
  ] as const) {
    const response = await gateway.admin(method, path);
    t.equal(response.headers.get('ratelimit-policy'), `"${name}";q=${limit};w=60`);
    t.equal(response.headers.get('x-ratelimit-remaining'), String(limit - 1), 'nobody else took from it');
  }
});

t.test('a 429 says when to come back: then it passes, a moment earlier it does not', async (t) => {
  const clock = new FakeClock();
  const gateway = await start(t, { REQUESTS_PER_MINUTE: '60' }, clock);
  const headers = { 'x-api-key': gateway.first.key.key };
  const get = () => fetch(`${gateway.trafficUrl}/tools`, { headers });
  const passed = await Promise.all(Array.from({ length: 60 }, get));
  t.ok(passed.every(({ status }) => status === 200));
  const refused = await get();
  t.match(await refused.json(), {
    status: 429,
    code: 'rate_limited',
    detail: 'Rate limit exceeded. Please try again later.',
    retry_after: 1,
  });
  t.equal(refused.headers.get('retry-after'), '1');
  t.equal(refused.headers.get('x-ratelimit-remaining'), '0');
  t.equal(Number(refused.headers.get('x-ratelimit-reset')), clock.wallMs() / 1000 + 60);
  t.equal(refused.headers.get('ratelimit'), '"read";r=0;t=60');
  clock.nowMs += 999;
  t.equal((await get()).status, 429);
  clock.nowMs += 1;
  t.equal((await get()).status, 200);
});

t.test('token and key of one caller share a bucket', async (t) => {
  const gateway = await start(t, {}, new FakeClock());
  const { key } = gateway.first.key;
  const login = await fetch(`${gateway.trafficUrl}/auth/api-key-login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ api_key: key }),
  });
  const { access_token } = (await login.json()) as { access_token: string };
  const remaining = async (credential: string) => {
    const response = await fetch(`${gateway.trafficUrl}/tools`, {
      headers: { authorization: `Bearer ${credential}` },
    });
    t.equal(response.status, 200);
    return Number(response.headers.get('x-ratelimit-remaining'));
  };
  t.equal(await remaining(key), 59);
  t.equal(await remaining(access_token), 58);
});

t.test(
  'a flood of bad credentials is refused before it costs; callers already known pass, new ones wait',
  async (t) => {
    const gateway = await start(t);
    const good = gateway.first.key.key;
    const fresh = (await (
      await gateway.admin('POST', '/admin/api-keys', { name: 'new', can_read: true })
    ).json()) as { key: string };
    const get = (credential: string) =>
      fetch(`${gateway.trafficUrl}/tools`, { headers: { authorization: `Bearer ${credential}` } });
    t.equal((await get(good)).status, 200);
    const guesses = await Promise.all(Array.from({ length: 40 }, (_, index) => get(`a.b.${index}`)));
    t.ok(guesses.every(({ status }) => status === 401 || status === 429));
    t.equal((await get(good)).status, 200, 'a caller known before the flood is not locked out');
    const unknown = await get(fresh.key);
    t.match(await unknown.json(), { status: 429, code: 'too_many_failures', retry_after: Number });
    const login = await fetch(`${gateway.trafficUrl}/auth/login`, {
      method: 'POST',
      body: new URLSearchParams({ username: 'admin', password: gateway.first.password }),
    });
    t.equal(login.status, 429, 'a password hash is work that costs');
    t.equal((await gateway.admin('GET', '/admin/users')).status, 200, 'an admin with a session goes on');
  },
);

t.test('a flood from one address does not end the session of someone behind it', async (t) => {
  const gateway = await start(t);
  const post = async (path: string, body: unknown, token?: string) => {
    const response = await fetch(gateway.trafficUrl + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    return { status: response.status, json: text === '' ? {} : JSON.parse(text) };
  };
  const { json } = await post('/auth/login', { username: 'admin', password: gateway.first.password });
  const flood = () =>
    Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        fetch(`${gateway.trafficUrl}/tools`, { headers: { authorization: `Bearer a.b.${index}` } }),
      ),
    );
  await flood();
  const next = await post('/auth/refresh', { refresh_token: json.refresh_token });
  t.equal(next.status, 200);
  await flood();
  const me = await fetch(`${gateway.trafficUrl}/auth/me`, {
    headers: { authorization: `Bearer ${next.json.access_token}` },
  });
  t.equal(me.status, 200, 'the token just issued is known');
  const changed = await post(
    '/auth/change-password',
    { current_password: gateway.first.password, new_password: 'another long password' },
    next.json.access_token,
  );
  t.equal(changed.status, 204);
});

t.test('attack 32: 100 logins at once end as 401, 429 or 503, with the event loop alive', async (t) => {
  const gateway = await start(t);
  let worstMs = 0;
  let lastMs = performance.now();
  const watch = setInterval(() => {
    worstMs = Math.max(worstMs, performance.now() - lastMs - 10);
    lastMs = performance.now();
  }, 10);
  const statuses = await Promise.all(
    Array.from({ length: 100 }, async () => {
      const response = await fetch(`${gateway.trafficUrl}/auth/login`, {
        method: 'POST',
        body: new URLSearchParams({ username: 'admin', password: 'wrong' }),
      });
      return response.status;
    }),
  );
  clearInterval(watch);
  t.ok(
    statuses.every((status) => [401, 429, 503].includes(status)),
    statuses.join(' '),
  );
  t.ok(statuses.includes(401));
  t.comment(`event loop delayed by ${Math.round(worstMs)} ms at most`);
  t.ok(worstMs < 1_000, 'with a wide margin for a shared machine');
});
