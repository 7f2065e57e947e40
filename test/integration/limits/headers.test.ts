/** What a caller is told of its limit, and that it is true. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FakeClock } from '../../support/fake-clock.ts';
import { startTestGateway } from '../../support/gateway.ts';
import { programEnv, runProgram, startProgram } from '../../support/program.ts';
import { startTestRegistry } from '../../support/registry.ts';

/** Rates that do not divide evenly, a burst over and one under the rate, costs over 1. */
const classes = `
    public: { rate: 100/minute }
    read: { rate: 7/minute }
    write: { rate: 100/minute, burst: 3 }
    admin: { rate: 100/minute }
    over: { rate: 7/minute, burst: 20 }
    under-7_9: { rate: 7/minute, burst: 5 }
`;

const routes = `
  - { path: /tools, upstream: registry, assertion: true, methods: [GET], permission: read, class: read, cost: 3 }
  - { path: /tools/search, upstream: registry, assertion: true, methods: [GET], permission: read, class: over, cost: 6 }
  - { path: /tools/*, upstream: registry, assertion: true, methods: [GET], permission: read, class: under-7_9, cost: 5 }
  - { path: /tools, upstream: registry, assertion: true, methods: [POST], permission: create, class: write, inspect: json }
  - { path: /away, upstream: away, permission: read, class: write }
`;

const yaml = `version: 1
listen: { port: 0 }
operations: { port: 0 }
database: "\${DATABASE_URL}"
rate_limits:
  classes:${classes}
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { registry: { url: "\${REGISTRY_URL}" }, away: { url: "http://127.0.0.1:9", breaker: { failures: 0 } } }
routes:${routes}`;

async function start(t: Test) {
  const directory = t.testdir();
  const clock = new FakeClock();
  const registry = await startTestRegistry(directory, clock);
  const gateway = await startTestGateway({ directory, yaml, registry, clock });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  const call = (target: string, init: RequestInit = {}) =>
    fetch(gateway.trafficUrl + target, {
      ...init,
      headers: { 'x-api-key': gateway.first.key.key, ...init.headers },
    });
  return { gateway, clock, call };
}

/** Each limit header of an answer; exactly one of each. */
function limitOf({ headers }: Response) {
  const of = (name: string) => headers.get(name) ?? '';
  const policy = /^"(?<name>[^"\\]+)";q=(?<q>\d+);w=(?<w>\d+)$/.exec(of('ratelimit-policy'))?.groups;
  const limit = /^"(?<name>[^"\\]+)";r=(?<r>\d+);t=(?<t>\d+)$/.exec(of('ratelimit'))?.groups;
  if (policy === undefined || limit === undefined || policy.name !== limit.name)
    throw new Error(`unreadable: ${of('ratelimit-policy')} and ${of('ratelimit')}`);
  return {
    name: policy.name,
    limit: Number(of('x-ratelimit-limit')),
    remaining: Number(of('x-ratelimit-remaining')),
    reset: Number(of('x-ratelimit-reset')),
    q: Number(policy.q),
    w: Number(policy.w),
    r: Number(limit.r),
    t: Number(limit.t),
    retryAfter: of('retry-after') === '' ? undefined : Number(of('retry-after')),
  };
}

for (const target of ['/tools', '/tools/search?q=a', '/tools/one']) {
  t.test(`who waits as long as Retry-After says passes; 1 s less and it does not: ${target}`, async (t) => {
    const { clock, call } = await start(t);
    // Not on a whole second, nor on a whole millisecond.
    clock.nowMs += 333.337;
    let refused = await call(target);
    for (let count = 0; count < 10 && refused.status !== 429; count += 1) refused = await call(target);
    t.equal(refused.status, 429);
    const { retryAfter = 0 } = limitOf(refused);
    t.match(await refused.json(), { code: 'rate_limited', retry_after: retryAfter });
    t.ok(retryAfter > 1, `${retryAfter} s`);
    clock.nowMs += (retryAfter - 1) * 1000;
    const early = await call(target);
    t.equal(early.status, 429, '1 s less');
    t.equal(limitOf(early).retryAfter, 1, 'and it is told the rest');
    clock.nowMs += 1000;
    t.not((await call(target)).status, 429);
  });
}

t.test('the bucket is full when X-RateLimit-Reset and t say so', async (t) => {
  const { clock, call } = await start(t);
  const first = limitOf(await call('/tools/search?q=a'));
  t.match(first, { name: 'over', limit: 20, q: 20, remaining: 14, r: 14, retryAfter: undefined });
  t.equal(first.w, Math.ceil((20 / 7) * 60), 'an empty bucket takes that long to fill');
  t.equal(first.t, Math.ceil((6 / 7) * 60));
  t.equal(first.reset, Math.ceil(clock.wallMs() / 1000) + first.t);
  clock.nowMs += first.t * 1000;
  t.equal(limitOf(await call('/tools/search?q=a')).remaining, 14, 'it was full again');
});

t.test(
  'what is left is told on a refusal too: it is less than the cost, and cheaper ones pass',
  async (t) => {
    const { call } = await start(t);
    for (const remaining of [4, 1]) t.equal(limitOf(await call('/tools')).remaining, remaining);
    const refused = limitOf(await call('/tools'));
    t.match(refused, { limit: 7, remaining: 1, r: 1, retryAfter: Math.ceil((2 / 7) * 60) });
    const me = await call('/auth/me');
    t.equal(me.status, 200, 'it costs one');
    t.equal(limitOf(me).remaining, 0);
  },
);

t.test('every answer after the limit has its headers, an error too; none before it', async (t) => {
  const { gateway, call } = await start(t);
  const json = { 'content-type': 'application/json' };
  const answers: ReadonlyArray<readonly [what: string, response: Response, status: number]> = [
    ['found', await call('/tools'), 200],
    ['the body', await call('/tools', { method: 'POST', headers: json, body: '{' }), 400],
    [
      'its type',
      await call('/tools', { method: 'POST', headers: { 'content-type': 'a/b' }, body: '{}' }),
      415,
    ],
    ["the upstream's own refusal", await call('/tools', { method: 'POST', headers: json, body: '{}' }), 422],
    ['no such path', await call('/nowhere'), 404],
    ['no such method', await call('/tools', { method: 'QUERY' }), 405],
    ['the limit', await call('/away'), 429],
  ];
  for (const [what, response, status] of answers) {
    t.equal(response.status, status, what);
    const { limit, q, remaining, r } = limitOf(response);
    t.ok(limit === q && remaining === r && r <= q, what);
  }
  const before = [
    await fetch(`${gateway.trafficUrl}/tools`),
    await call('/admin/users'),
    await call('/tools//x'),
    await call('/tools', { headers: { 'x-api-key': 'nobody' } }),
  ];
  t.same(
    before.map(({ status }) => status),
    [401, 403, 400, 401],
  );
  for (const { headers } of before) t.notOk(headers.has('ratelimit') || headers.has('x-ratelimit-limit'));
});

t.test('an upstream that is away answers with the limit as well', async (t) => {
  const { call } = await start(t);
  const away = await call('/away');
  t.equal(away.status, 502);
  t.match(limitOf(away), { name: 'write', limit: 3, remaining: 2, w: 2 });
});

t.test('on the running program: it passes after Retry-After, and not at once', async (t) => {
  const directory = t.testdir();
  const env = { ...programEnv(directory), REGISTRY_URL: 'http://127.0.0.1:9' };
  const config = join(directory, 'gateway.yaml');
  // One request in 6 s: a machine that stands still for a while in between changes nothing.
  const slow = yaml.replace('rate: 7/minute, burst: 5', 'rate: 50/minute, burst: 5');
  writeFileSync(config, slow);
  const made = JSON.parse((await runProgram(['setup', '--json', '--config', config], env)).stdout);
  const program = startProgram(['start', '--config', config], { ...env, LOG_LEVEL: 'info' });
  t.teardown(() => program.stop('SIGKILL'));
  const traffic = await listening(program);
  const call = () => fetch(`${traffic}/tools/one`, { headers: { 'x-api-key': made.key } });
  t.equal((await call()).status, 502, 'nobody is behind it, and it passed');
  const refused = await call();
  const { retryAfter = 0 } = limitOf(refused);
  t.equal(refused.status, 429);
  t.ok(retryAfter >= 1 && retryAfter <= 6, `${retryAfter} s`);
  const untilMs = performance.now() + retryAfter * 1000;
  t.equal((await call()).status, 429);
  while (performance.now() < untilMs) await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal((await call()).status, 502, 'it passed');
});

/** The address of its traffic, from its log. */
async function listening({ stderr }: ReturnType<typeof startProgram>): Promise<string> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const found = /"traffic":"([^"]+)"/.exec(stderr())?.[1];
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`it does not listen after 20 s: ${stderr()}`);
}
