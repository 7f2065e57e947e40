/** Several workers behind one port count, tell and refuse as one gateway does. The real program, over real sockets. */
import t from 'tap';
import { gaugeRules } from '../../src/workers/aggregation.ts';
import { linesOf } from '../support/audit.ts';
import { makeKey, startCrew, statusesOf } from '../support/crew.ts';
import { startRedis, until } from '../support/redis.ts';

/** For all that needs no settings of its own. */
const crew = await startCrew(t, { sections: { auth: '{ failures: { rate: 100000/hour } }' } });

t.test('all of them serve the one port, and one audit log tells of it', async (t) => {
  t.strictSame(await statusesOf(crew, '/open/x', 20), { 200: 20 });
  const [log = ''] = await crew.auditFiles();
  const replicas = () =>
    linesOf(log)
      .filter((line) => line.includes('"path":"/open/x"'))
      .map((line) => (JSON.parse(line) as { replica: string }).replica);
  await until(() => replicas().length === 20);
  t.equal(new Set(replicas()).size, 2);
});

t.test('of 240 at once against 60 an hour exactly 60 pass, counted by the primary', async (t) => {
  t.strictSame(await statusesOf(crew, '/hourly/x', 240), { 200: 60, 429: 180 });
  t.equal(await crew.metric('portcullis_rate_limited_total{class="hourly"}'), 180);
});

t.test('of 240 at once against 60 an hour exactly 60 pass, counted by Redis', async (t) => {
  const redis = await startRedis(t);
  const crew = await startCrew(t, { env: { REDIS_URL: redis.url } });
  await until(async () => (await crew.metric('portcullis_rate_limit_store_up')) === 1);
  t.strictSame(await statusesOf(crew, '/hourly/x', 240), { 200: 60, 429: 180 });
});

t.test('metrics are summed, and those of processes are told of each', async (t) => {
  await Promise.all(Array.from({ length: 30 }, () => crew.get('/things/x')));
  const served = () => crew.metric('portcullis_http_requests_total{route="/things/*"');
  await until(async () => (await served()) === 30);
  t.equal(await crew.metric('portcullis_http_request_duration_seconds_count{route="/things/*"}'), 30);
  t.equal(
    await crew.metric('portcullis_http_request_duration_seconds_bucket{le="+Inf",route="/things/*"}'),
    30,
  );
  t.equal(await crew.metric('portcullis_build_info'), 1);
  t.equal(await crew.metric('portcullis_audit_sink_up'), 1);
  t.equal(await crew.metric('portcullis_config_last_reload_successful'), 1);
  t.equal(await crew.metric('portcullis_workers_listening'), 2);
  const text = await (await fetch(`${crew.operations}/metrics`)).text();
  const processes = [...text.matchAll(/^process_resident_memory_bytes\{worker="(\w+)"\}/gm)];
  t.strictSame(processes.map((match) => match[1]).sort(), ['1', '2', 'primary']);
  t.equal(new Set(text.match(/^# TYPE \S+/gm)).size, text.match(/^# TYPE /gm)?.length, 'each is told once');
});

t.test('every gauge of a gateway has a rule by which those of its workers become one', async (t) => {
  const text = await (await fetch(`${crew.operations}/metrics`)).text();
  const gauges = [...text.matchAll(/^# TYPE (portcullis_\S+) gauge$/gm)].map(([, name]) => name ?? '');
  const ours = ['portcullis_workers', 'portcullis_workers_listening'];
  t.ok(gauges.length > 10);
  t.strictSame(
    gauges.filter((name) => !ours.includes(name) && gaugeRules[name] === undefined),
    [],
  );
});

t.test('guesses of credentials are counted together, whichever worker they come to', async (t) => {
  const crew = await startCrew(t, { sections: { auth: '{ failures: { rate: 10/hour } }' } });
  const { id, key } = await makeKey(crew);
  await crew.command(['key', 'disable', id]);
  const statuses: number[] = [];
  for (let number = 0; number < 20; number += 1)
    statuses.push((await crew.get('/things/x', { 'x-api-key': key })).status);
  const refused = statuses.filter((status) => status === 429).length;
  // A worker is told of the other's one within a moment, and may have let one more pass by then.
  t.ok(refused >= 9 && refused <= 10, `${statuses}`);
});

t.test('wrong passwords are counted together: the eleventh finds the name locked', async (t) => {
  const crew = await startCrew(t, {
    sections: {
      auth: '{ failures: { rate: 1000/hour }, passwords: { memory: 128KiB, iterations: 1 } }',
    },
  });
  await crew.command(['setup', '--json']);
  const login = () => crew.post('/auth/login', { username: 'admin', password: 'wrong-password-here' });
  const statuses: number[] = [];
  for (let tries = 0; tries < 12; tries += 1) statuses.push((await login()).status);
  t.strictSame(statuses, [...Array.from({ length: 10 }, () => 401), 429, 429]);
});

t.test('a key that was switched off is dead in every worker', async (t) => {
  const { id, key } = await makeKey(crew);
  const asks = () =>
    Promise.all(Array.from({ length: 8 }, () => crew.get('/things/x', { 'x-api-key': key })));
  const statuses = async () => new Set((await asks()).map(({ status }) => status));
  t.strictSame(await statuses(), new Set([200]));
  t.strictSame(await statuses(), new Set([200]));
  await crew.command(['key', 'disable', id]);
  const since = performance.now();
  await until(async () => !(await statuses()).has(200));
  t.ok(performance.now() - since < 5_000);
  for (let turn = 0; turn < 5; turn += 1) t.strictSame(await statuses(), new Set([401]));
});

t.test('a refresh token is taken once, whichever worker it comes to', async (t) => {
  const { key } = await makeKey(crew);
  const { refresh_token } = JSON.parse((await crew.post('/auth/api-key-login', { api_key: key })).text);
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => crew.post('/auth/refresh', { refresh_token })),
  );
  t.ok(answers.filter(({ status }) => status === 200).length <= 1);
  t.ok(
    answers.every(({ status }) => [200, 401].includes(status)),
    answers.map(({ status }) => status).join(),
  );
});

t.test('an assertion is signed with the keys that the operations port shows', async (t) => {
  const { keys } = (await (await fetch(`${crew.operations}/.well-known/jwks.json`)).json()) as {
    keys: unknown[];
  };
  t.ok(keys.length > 0);
  t.equal(new Set(keys.map((key) => JSON.stringify(key))).size, keys.length);
});

t.test('standard output takes whole lines of all of them', async (t) => {
  const crew = await startCrew(t, {
    sections: { audit: `{ sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }, { type: stdout }] }` },
  });
  for (let turn = 0; turn < 5; turn += 1) await statusesOf(crew, '/open/x', 40);
  await crew.program.stop();
  const lines = crew.program.stdout().trimEnd().split('\n');
  const records = lines.map((line) => JSON.parse(line)).filter(({ path }) => path === '/open/x');
  t.equal(records.length, 200);
  t.equal(new Set(records.map(({ replica }) => replica)).size, 2);
});

t.test('standard output alone carries the durability', async (t) => {
  const crew = await startCrew(t, {
    sections: {
      audit: '{ sinks: [{ type: stdout }] }',
      routes: '\n  - { path: /open/*, upstream: app, permission: none, class: public }',
    },
  });
  const { key } = await makeKey(crew);
  t.equal((await crew.post('/auth/api-key-login', { api_key: key })).status, 200);
  await until(() => crew.program.stdout().includes('"stage":"attempt"'));
  t.match(crew.program.stdout(), /"path":"\/auth\/api-key-login"/);
});
