/**
 * What a second worker brings, and what it costs: one process, one worker's worth of it, and two, on one core each, with
 * the buckets in memory (asked of the primary by workers) and in Redis (units on lease).
 *
 *     node test/bench/workers.ts
 *
 * Worker k is pinned to core k, and the primary and wrk go where there is room. Where wrk and the service have no core of
 * their own, as on a machine of two, requests a second say less than processor time a request does: from it comes what so
 * many cores could serve. BENCH_SECONDS (5) is how long each is driven, BENCH_ROUNDS (3) how often; medians are printed.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Crew, startCrew } from '../support/crew.ts';
import { startRedis } from '../support/redis.ts';
import { cpuSecondsOf } from './machine.ts';

const seconds = Number(process.env.BENCH_SECONDS ?? 5);
const rounds = Number(process.env.BENCH_ROUNDS ?? 3);
const connections = 64;

const say = (line: string) => process.stdout.write(`${line}\n`);
const teardowns: Array<() => unknown> = [];
const test = (directory: string) => ({
  testdir: () => directory,
  teardown: (callback: () => unknown) => void teardowns.push(callback),
});

interface Row {
  readonly name: string;
  readonly workers: number;
  readonly redis: boolean;
}

const rows: readonly Row[] = [
  { name: 'one process', workers: 1, redis: false },
  { name: 'two workers, buckets in the primary', workers: 2, redis: false },
  { name: 'one process, Redis', workers: 1, redis: true },
  { name: 'two workers, Redis', workers: 2, redis: true },
];

interface Sample {
  readonly perSecond: number;
  /** Microseconds of processor time a request: of those that serve, and of the primary. */
  readonly servingUs: number;
  readonly primaryUs: number;
  /** Of all requests, what the busier worker served. */
  readonly larger: number;
}

async function measure({ workers, redis }: Row, redisUrl: string): Promise<Sample> {
  const directory = mkdtempSync('/tmp/portcullis-bench-workers-');
  try {
    const crew = await startCrew(test(directory), {
      workers,
      sections: {
        audit: `{ sinks: [{ type: file, path: ${join(directory, 'audit.log')}, fsync: false }] }`,
        rate_limits: `
  redis: "${redis ? redisUrl : ''}"
  classes:
    public: { rate: 1000000/second }
    read: { rate: 1000000/second }
    write: { rate: 1000000/second }
    admin: { rate: 1000000/second }`,
        routes: '\n  - { path: /open/*, upstream: app, permission: none, class: public }',
      },
    });
    const primary = crew.program.child.pid ?? 0;
    const serving = workers === 1 ? [primary] : crew.workerIds();
    for (const [index, pid] of serving.entries())
      execFileSync('taskset', ['-a', '-cp', String(index % availableParallelism()), String(pid)]);
    // Warm first: what is compiled late is not what a request costs.
    await drive(crew, 2);
    const before = { serving: serving.map(cpuSecondsOf), all: cpuSecondsOf(primary) };
    const count = await drive(crew, seconds);
    const used = serving.map((pid, index) => cpuSecondsOf(pid) - (before.serving[index] ?? 0));
    const servingSeconds = used.reduce((sum, one) => sum + one, 0);
    const allSeconds = cpuSecondsOf(primary) - before.all;
    await crew.program.stop();
    return {
      perSecond: count / seconds,
      servingUs: (servingSeconds / count) * 1e6,
      primaryUs: workers === 1 ? 0 : ((allSeconds - servingSeconds) / count) * 1e6,
      larger: Math.max(...used) / servingSeconds,
    };
  } finally {
    for (const end of teardowns.splice(0)) await end();
    rmSync(directory, { recursive: true });
  }
}

/** @returns requests that were answered */
async function drive({ url }: Crew, duration: number): Promise<number> {
  const args = ['-t', '1', '-c', String(connections), '-d', `${duration}s`, `${url}/health`];
  const { stdout } = await promisify(execFile)('wrk', args);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(stdout);
  return Number(/(\d+) requests in/.exec(stdout)?.[1]);
}

function median(samples: readonly Sample[], of: (sample: Sample) => number): number {
  return samples.map(of).sort((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
}

const redisTeardowns: Array<() => unknown> = [];
const redis = await startRedis({ teardown: (callback) => void redisTeardowns.push(callback) });
try {
  say(
    `${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}; ${connections} connections, GET /health, ${rounds} rounds of ${seconds} s`,
  );
  say('');
  say(
    '| | requests/s | µs of those that serve | µs of the primary | share of the busier | could serve/s on cores of its own |',
  );
  say('| --- | --- | --- | --- | --- | --- |');
  const samples = new Map<Row, Sample[]>(rows.map((row) => [row, []]));
  for (let round = 0; round < rounds; round += 1)
    for (const row of rows) samples.get(row)?.push(await measure(row, redis.url));
  for (const row of rows) {
    const of = samples.get(row) ?? [];
    const servingUs = median(of, (sample) => sample.servingUs);
    const cells = [
      row.name,
      median(of, ({ perSecond }) => perSecond).toFixed(0),
      servingUs.toFixed(0),
      median(of, ({ primaryUs }) => primaryUs).toFixed(0),
      `${(100 * median(of, ({ larger }) => larger)).toFixed(0)} %`,
      ((row.workers * 1e6) / servingUs).toFixed(0),
    ];
    say(`| ${cells.join(' | ')} |`);
  }
} finally {
  for (const end of redisTeardowns) await end();
}
