/** One operations port tells of all workers as one process tells of itself, whoever of them dies meanwhile. The real program. */
import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { type Crew, makeKey, startCrew, statusesOf } from '../support/crew.ts';
import { until } from '../support/redis.ts';

interface Told {
  /** By name, as `# TYPE` says. */
  readonly types: ReadonlyMap<string, string>;
  /** By series: its name with its labels in order. */
  readonly values: ReadonlyMap<string, number>;
}

/** @throws Error for a metric or a series that is told twice, which Prometheus refuses whole */
function read(text: string): Told {
  const types = new Map<string, string>();
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, name = '', type = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (name !== '' && types.has(name)) throw new Error(`told twice: ${line}`);
    if (name !== '') types.set(name, type);
    if (line === '' || line.startsWith('#')) continue;
    const [, metric = '', labels = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    const sorted = [...labels.matchAll(/\w+="(?:[^"\\]|\\.)*"/g)].map(([label]) => label).sort();
    const series = `${metric}{${sorted.join()}}`;
    if (values.has(series)) throw new Error(`told twice: ${line}`);
    values.set(series, Number(value));
  }
  return { types, values };
}

const scrape = async ({ operations }: Crew) => (await fetch(`${operations}/metrics`)).text();

/** A process has numbers of its own, and starts again at nothing. */
const isOfOneProcess = (name: string) => /^(?:process|nodejs)_/.test(name);

/** Answers, refusals of each kind, a login, and more than the limit allows. */
async function everyKind(crew: Crew): Promise<void> {
  const { key } = await makeKey(crew);
  await statusesOf(crew, '/open/x', 8);
  await statusesOf(crew, '/hourly/x', 80);
  const ask = (path: string, headers = {}) => crew.get(path, headers);
  await Promise.all(Array.from({ length: 8 }, () => ask('/things/x', { 'x-api-key': key })));
  await Promise.all(Array.from({ length: 8 }, () => ask('/things/x', { 'x-api-key': `${key}x` })));
  await ask('/made/x', { 'x-api-key': key });
  await ask('/nowhere');
  await crew.post('/auth/api-key-login', { api_key: key });
  await until(async () => (await crew.metric('portcullis_http_requests_in_flight')) === 0);
}

const routes = `
  - { path: /open/*, upstream: app, permission: none, class: public }
  - { path: /hourly/*, upstream: app, permission: none, class: hourly }
  - { path: /made/*, upstream: app, permission: create, class: write }
  - { path: /things/*, upstream: app, permission: read, class: read }`;

t.test('several workers have every metric, label and series of one process, and three more', async (t) => {
  const told: Told[] = [];
  for (const workers of [1, 2]) {
    const crew = await startCrew(t, { workers, sections: { routes } });
    await everyKind(crew);
    told.push(read(await scrape(crew)));
    await crew.program.stop();
  }
  const [one, two] = told as [Told, Told];
  const ours = ['portcullis_worker_restarts_total', 'portcullis_workers', 'portcullis_workers_listening'];
  t.strictSame([...two.types.keys()].filter((name) => !one.types.has(name)).sort(), ours);
  t.strictSame([...two.types].filter(([name]) => !ours.includes(name)).sort(), [...one.types].sort());
  const shared = ({ values }: Told) =>
    [...values.keys()].filter((series) => !isOfOneProcess(series) && !/^portcullis_worker/.test(series));
  t.ok(shared(one).length > 150, `${shared(one).length} series`);
  t.strictSame(shared(two).sort(), shared(one).sort());
  const counts = ({ types, values }: Told) =>
    [...values].filter(([series]) => types.get(series.replace(/\{.*/, '')) === 'counter');
  const requests = (of: Told) => counts(of).filter(([series]) => /http_requests_total|limited/.test(series));
  t.strictSame(
    requests(two).sort(),
    requests(one).sort(),
    'and what they were asked alike, they count alike',
  );
  const processes = [...two.values.keys()].filter(isOfOneProcess);
  t.strictSame(
    processes.filter((series) => !/worker="(?:1|2|primary)"/.test(series)),
    [...one.values.keys()].filter((series) => /^nodejs_version_info/.test(series)),
    'each process is told apart, but for its version',
  );
});

t.test('scraped over and over while workers are killed: no counter falls, and no series goes', async (t) => {
  const crew = await startCrew(t);
  let isOver = false;
  let answered = 0;
  const load = Array.from({ length: 3 }, async () => {
    while (!isOver) {
      const status = await crew.get('/open/x').then(
        (answer) => answer.status,
        () => 0,
      );
      if (status === 200) answered += 1;
    }
  });
  const seen = new Map<string, number>();
  const faults: string[] = [];
  let scrapes = 0;
  const look = async () => {
    scrapes += 1;
    const text = await scrape(crew);
    // So soon after the last look it is the mean of nothing, which no worker may tell as endless.
    faults.push(...(text.match(/^nodejs_eventloop_lag_mean_seconds.* \+Inf$/gm) ?? []));
    const { types, values } = read(text);
    const told = new Map(
      [...values].filter(([series]) => !isOfOneProcess(series) && !isGauge(types, series)),
    );
    for (const [series, value] of seen)
      if (!((told.get(series) ?? -1) >= value)) faults.push(`${series} ${value} -> ${told.get(series)}`);
    for (const [series, value] of told) seen.set(series, value);
  };
  const looking = (async () => {
    while (!isOver) {
      await look();
      await delay(20);
    }
  })();
  for (let kill = 0; kill < 3; kill += 1) {
    const before = answered;
    await until(() => answered > before + 50);
    await crew.kill(crew.workerIds()[kill % 2] ?? 0);
  }
  isOver = true;
  await Promise.all([...load, looking]);
  await look();
  t.strictSame(faults, []);
  t.ok(scrapes > 20, `${scrapes} scrapes`);
  t.equal(seen.get('portcullis_worker_restarts_total{}'), 3);
  const counted = seen.get('portcullis_http_requests_total{method="GET",route="/open/*",status="200"}') ?? 0;
  // What a worker has counted since it was last looked at is lost with it.
  t.ok(counted > answered / 2 && counted <= answered + 3 * 3, `${counted} counted of ${answered}`);
  t.equal(
    execFileSync('promtool', ['check', 'metrics'], { input: await scrape(crew), encoding: 'utf8' }),
    '',
  );
});

function isGauge(types: ReadonlyMap<string, string>, series: string): boolean {
  return types.get(series.replace(/\{.*/, '')) === 'gauge';
}
