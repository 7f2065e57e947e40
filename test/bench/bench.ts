/**
 * `npm run bench`: Portcullis and its peers side by side, each doing the same job in turn, with what it cost them.
 * Prints one table and writes it to test/bench/results/. About ten minutes; `-- --quick` takes two and says less;
 * `-- --only few,many` runs these alone, by the words of contenders.ts, and writes nothing.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Field, names, namesWith, startField } from './contenders.ts';
import { addedLatency, largeBodies, memoryOf } from './extremes.ts';
import { type Contender, drive, prove, type Sample, sendEach } from './load.ts';
import { describeMachine, type Machine } from './machine.ts';
import { installNeeded } from './needed.ts';
import { Bench } from './peers.ts';
import { chartOf, isBusy, markdownOf } from './report.ts';
import { bodyRows, latencyRows, memoryRows, type Row, ratioRows } from './rows.ts';
import { spreadOf } from './statistics.ts';

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
});
const only = values.only === undefined ? undefined : namesWith(['bare', ...values.only.split(',')]);

const sizes = values.quick
  ? { rounds: 3, seconds: 1, keys: 10_000, routes: 1_000, idle: 2_000, mib: 256 }
  : { rounds: 7, seconds: 3, keys: 100_000, routes: 1_000, idle: 10_000, mib: 1_024 };
const connections = 64;

installNeeded();
const machine = describeMachine();
if (machine.cores < 2)
  throw new Error('a peer and what drives it need a core each: nothing is comparable on one');
if (isBusy(machine))
  tell(`The machine is busy (load ${machine.load.toFixed(1)}): figures will be provisional.`);
const directory = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
try {
  await using bench = new Bench(directory);
  await measure(bench, machine);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function measure(bench: Bench, machine: Machine): Promise<void> {
  tell('starting all peers');
  await bench.startTools();
  const field = await startField(bench, { ...sizes, ...(only !== undefined && { only }) });
  const samples = await rounds(field.contenders);
  const missing = samples.has(names.leases) ? await unserved(field) : new Map<string, string>();
  const rows = ratioRows(samples, missing);
  if (only === undefined) {
    tell('latency at half load, memory, idle connections, large bodies');
    rows.push(...(await extremes(bench, field, samples)));
  }
  const run = {
    machine,
    at: new Date(),
    rounds: sizes.rounds,
    seconds: sizes.seconds,
    connections,
    samples,
    rows,
  };
  const markdown = markdownOf(run);
  process.stdout.write(`\n${markdown}`);
  if (only !== undefined) return;
  const results = join(import.meta.dirname, 'results');
  mkdirSync(results, { recursive: true });
  const name = values.quick ? 'quick' : 'bench';
  writeFileSync(join(results, `${name}.md`), markdown);
  writeFileSync(join(results, `${name}.svg`), chartOf(run));
}

/** In turn, each round beginning with another one, after each has had time to be compiled. */
async function rounds(contenders: readonly Contender[]): Promise<Map<string, Sample[]>> {
  const samples = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
  for (const contender of contenders) {
    tell(`warming up ${contender.name}`);
    await prove(contender);
    if (contender.name === names.many) await sendEach(contender);
    await drive(contender, { connections, seconds: 2 * sizes.seconds }, directory);
  }
  for (let round = 0; round < sizes.rounds; round += 1) {
    tell(`round ${round + 1} of ${sizes.rounds}`);
    const first = (round * 5) % contenders.length;
    for (const contender of [...contenders.slice(first), ...contenders.slice(0, first)]) {
      const sample = await drive(contender, { connections, seconds: sizes.seconds }, directory);
      samples.get(contender.name)?.push(sample);
    }
  }
  return samples;
}

/** Who decided is asked of the gateway: a figure for Redis must not come from memory. */
async function unserved({ withRedis }: Field): Promise<Map<string, string>> {
  const { operationsUrl } = await withRedis();
  const text = await (await fetch(`${operationsUrl}/metrics`)).text();
  const pattern = /^portcullis_rate_limit_decisions_total\{source="(\w+)"\} (\d+)/gm;
  const decided = new Map(
    [...text.matchAll(pattern)].map(([, source = '', count]) => [source, Number(count)]),
  );
  const total = decided.values().reduce((sum, count) => sum + count, 0);
  const share = (...sources: string[]) =>
    sources.reduce((sum, one) => sum + (decided.get(one) ?? 0), 0) / total;
  const missing = new Map<string, string>();
  if (!(share('lease') > 0)) missing.set(names.leases, 'no decision came from a lease');
  if (!(share('redis') > 0.01)) missing.set(names.asked, 'hardly a decision came from Redis');
  const alone = share('local', 'open', 'closed', 'memory');
  if (alone > 0.01)
    for (const name of [names.leases, names.asked])
      missing.set(name, `${(alone * 100).toFixed(1)} % of the decisions were made without Redis`);
  return missing;
}

async function extremes(
  bench: Bench,
  { contenders, portcullis }: Field,
  samples: ReadonlyMap<string, readonly Sample[]>,
): Promise<Row[]> {
  const [floor, gateway] = [names.bare, names.key].map((name) => contenders.find((one) => one.name === name));
  if (floor === undefined || gateway === undefined) throw new Error('nothing to compare');
  const most = spreadOf((samples.get(names.key) ?? []).map(({ perSecond }) => perSecond)).median;
  const latency = await addedLatency(gateway, floor, {
    perSecond: most / 2,
    seconds: 2 * sizes.seconds,
    rounds: Math.min(sizes.rounds, 5),
    directory,
  });
  // Its own, since memory is also what went before.
  const fresh = await bench.startPortcullis('fresh');
  const memory = await memoryOf(fresh, sizes.idle);
  await bench.end(fresh);
  const bodies = await largeBodies(bench, await portcullis(), { mib: sizes.mib, rounds: 3 });
  return [...latencyRows(latency), ...memoryRows(memory), ...bodyRows(bodies, sizes.mib)];
}

function tell(line: string): void {
  process.stderr.write(`# ${line}\n`);
}
