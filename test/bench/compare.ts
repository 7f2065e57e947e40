/**
 * Whether a change was worth it: `node test/bench/compare.ts CHECKOUT [rounds] [seconds] [--only few,many] [--keys N]`
 * runs the full way of this checkout, of another one (with its own node_modules) and the bare floor in turn; with
 * `--only`, others of contenders.ts, by their words there. `--only bodies` sends large bodies, 256 MiB or `--mib`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { names, namesWith, startField } from './contenders.ts';
import { sendingLarge } from './extremes.ts';
import { type Contender, drive, prove, type Sample, sendEach } from './load.ts';
import { installNeeded } from './needed.ts';
import { Bench } from './peers.ts';
import { ratioOf, type Spread, spreadOf } from './statistics.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: 'string', default: 'key' },
    keys: { type: 'string', default: '10000' },
    mib: { type: 'string', default: '256' },
  },
});
const [checkout = '.', rounds = '9', seconds = '2'] = positionals;
const sizes = { keys: Number(values.keys), routes: 1_000 };

installNeeded();
const directory = mkdtempSync(join(tmpdir(), 'portcullis-compare-'));
try {
  await using bench = new Bench(directory);
  await bench.startTools();
  if (values.only === 'bodies') await compareBodies(bench);
  else await compare(bench, namesWith(values.only.split(',')));
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function compare(bench: Bench, only: readonly string[]): Promise<void> {
  const now = await startField(bench, { ...sizes, only: [names.bare, ...only] });
  const before = await startField(bench, { ...sizes, only, checkout });
  const named = (contender: Contender, when: string) => ({
    ...contender,
    name: `${contender.name}, ${when}`,
  });
  const contenders = [
    ...now.contenders.map((one) => (one.name === names.bare ? one : named(one, 'after'))),
    ...before.contenders.map((one) => named(one, 'before')),
  ];
  const taken = new Map<string, Sample[]>(contenders.map(({ name }) => [name, []]));
  const load = { connections: 64, seconds: Number(seconds) };
  for (const contender of contenders) {
    await prove(contender);
    if (contender.name.startsWith(names.many)) await sendEach(contender);
    await drive(contender, { ...load, seconds: 6 }, directory);
  }
  for (let round = 0; round < Number(rounds); round += 1)
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed())
      taken.get(contender.name)?.push(await drive(contender, load, directory));
  const floor = taken.get(names.bare) ?? [];
  const first = only[0] ?? names.key;
  for (const [name, samples] of taken)
    tell(`${name}: µs a request`, spreadOf(samples.map(({ us }) => us)), 1);
  for (const name of only) {
    const [after, old] = [taken.get(`${name}, after`) ?? [], taken.get(`${name}, before`) ?? []];
    tell(`${name}: before / bare`, ratioOf(old, floor), 3);
    tell(`${name}: after / bare`, ratioOf(after, floor), 3);
    tell(`${name}: after / before`, ratioOf(after, old), 3);
    if (name === first) continue;
    tell(`${name} / ${first}: before`, ratioOf(old, taken.get(`${first}, before`) ?? []), 3);
    tell(`${name} / ${first}: after`, ratioOf(after, taken.get(`${first}, after`) ?? []), 3);
  }
}

async function compareBodies(bench: Bench): Promise<void> {
  const bare = await bench.startBare('bodies');
  const before = await bench.startPortcullis('before', { checkout });
  const after = await bench.startPortcullis('after');
  const send = sendingLarge(bench, Number(values.mib));
  for (const way of ['up', 'down'] as const) {
    const taken: Array<Record<'bare' | 'before' | 'after', Awaited<ReturnType<typeof send>>>> = [];
    await Promise.all([send(bare, way), send(before, way, before.key), send(after, way, after.key)]);
    for (let round = 0; round < Number(rounds); round += 1) {
      taken.push({
        bare: await send(bare, way),
        before: await send(before, way, before.key),
        after: await send(after, way, after.key),
      });
    }
    const ratio = (one: 'before' | 'after', other: 'bare' | 'before', what: 'seconds' | 'cpuSeconds') =>
      spreadOf(taken.map((round) => round[one][what] / round[other][what]));
    for (const [one, other] of [
      ['before', 'bare'],
      ['after', 'bare'],
      ['after', 'before'],
    ] as const) {
      tell(`${way}: time, ${one} / ${other}`, ratio(one, other, 'seconds'), 2);
      tell(`${way}: CPU, ${one} / ${other}`, ratio(one, other, 'cpuSeconds'), 2);
    }
  }
}

function tell(what: string, { median, least, most }: Spread, digits: number): void {
  const text = (value: number) => value.toFixed(digits);
  process.stdout.write(`${what}: ${text(median)} (${text(least)} to ${text(most)})\n`);
}
