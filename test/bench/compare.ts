/**
 * Whether a change was worth it: `node test/bench/compare.ts CHECKOUT [rounds] [seconds]` runs the full way of this
 * checkout, of another one (with its own node_modules) and the bare floor in turn.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { drive, prove, type Sample } from './load.ts';
import { installNeeded } from './needed.ts';
import { Bench } from './peers.ts';
import { ratioOf, type Spread, spreadOf } from './statistics.ts';

const [, , checkout = '.', rounds = '9', seconds = '2'] = process.argv;

installNeeded();
const directory = mkdtempSync(join(tmpdir(), 'portcullis-compare-'));
try {
  await using bench = new Bench(directory);
  await compare(bench);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function compare(bench: Bench): Promise<void> {
  await bench.startTools();
  const bare = await bench.startBare();
  const before = await bench.startPortcullis('before', { checkout });
  const after = await bench.startPortcullis('after');
  const contenders = [
    { name: 'bare', peer: bare, key: after.key },
    { name: 'before', peer: before, key: before.key },
    { name: 'after', peer: after, key: after.key },
  ].map(({ name, peer, key }) => ({
    name,
    peer,
    requests: [{ path: '/tools/4fXk2m9Qa1Zr', headers: { 'X-API-Key': key } }],
    status: 200,
    samples: [] as Sample[],
  }));
  const load = { connections: 64, seconds: Number(seconds) };
  for (const contender of contenders) {
    await prove(contender);
    await drive(contender, { ...load, seconds: 6 }, directory);
  }
  for (let round = 0; round < Number(rounds); round += 1)
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed())
      contender.samples.push(await drive(contender, load, directory));
  const [floor, old, now] = contenders.map(({ samples }) => samples);
  if (floor === undefined || old === undefined || now === undefined) return;
  for (const { name, samples } of contenders)
    tell(`${name}: µs a request`, spreadOf(samples.map(({ us }) => us)), 1);
  tell('before / bare', ratioOf(old, floor), 3);
  tell('after / bare', ratioOf(now, floor), 3);
  tell('after / before', ratioOf(now, old), 3);
}

function tell(what: string, { median, least, most }: Spread, digits: number): void {
  const text = (value: number) => value.toFixed(digits);
  process.stdout.write(`${what}: ${text(median)} (${text(least)} to ${text(most)})\n`);
}
