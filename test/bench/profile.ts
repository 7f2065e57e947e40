/**
 * Where the full way spends its time: `node test/bench/profile.ts [portcullis|bare] [seconds] [FILE.cpuprofile to keep]`. Prints
 * what files and functions take of what was not idle, in microseconds a request; collecting garbage is one of them.
 */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { drive, prove } from './load.ts';
import { installNeeded } from './needed.ts';
import { Bench } from './peers.ts';

interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number;
    readonly children?: readonly number[];
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }>;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const [, , who = 'portcullis', seconds = '10', keepAs] = process.argv;

installNeeded();
const directory = mkdtempSync(join(tmpdir(), 'portcullis-profile-'));
try {
  await using bench = new Bench(directory);
  await bench.startTools();
  const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${directory}/profiles`];
  const gateway = await bench.startPortcullis('profiled', { nodeOptions: who === 'bare' ? [] : nodeOptions });
  const peer = who === 'bare' ? await bench.startBare('app', nodeOptions) : gateway;
  const requests = [{ path: '/tools/4fXk2m9Qa1Zr', headers: { 'X-API-Key': gateway.key } }];
  const contender = { name: 'profiled', peer, requests, status: 200 };
  await prove(contender);
  const { us } = await drive(contender, { connections: 64, seconds: Number(seconds) }, directory);
  await bench.end(peer);
  const file = join(directory, 'profiles', readdirSync(join(directory, 'profiles'))[0] ?? '');
  if (keepAs !== undefined) copyFileSync(file, keepAs);
  process.stdout.write(`${us.toFixed(1)} µs a request while profiled\n`);
  tell(JSON.parse(readFileSync(file, 'utf8')), us);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

/** By file, by function, and by function with all that it calls. @param us a request, that shares are told in */
function tell({ nodes, samples, timeDeltas }: Profile, us: number): void {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id])));
  const [files, own, whole]: Array<Map<string, number>> = [new Map(), new Map(), new Map()];
  const add = (shares: Map<string, number> | undefined, name: string, time: number) =>
    shares?.set(name, (shares.get(name) ?? 0) + time);
  const half = samples.length / 2;
  let total = 0;
  // The second half: the first is the start and the compiler.
  for (const [index, id] of samples.entries()) {
    const node = byId.get(id);
    const time = timeDeltas[index] ?? 0;
    if (index < half || node === undefined || node.callFrame.functionName === '(idle)') continue;
    total += time;
    add(files, shortened(node.callFrame.url) || node.callFrame.functionName, time);
    add(own, nameOf(node.callFrame), time);
    const callers = new Set<string>();
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = byId.get(at)?.callFrame;
      if (frame !== undefined) callers.add(nameOf(frame));
    }
    for (const name of callers) add(whole, name, time);
  }
  for (const [title, shares] of Object.entries({ files, own, whole })) {
    process.stdout.write(`\n${title}\n`);
    for (const [name, time] of [...(shares ?? [])].sort(([, a], [, b]) => b - a).slice(0, 60)) {
      const share = time / total;
      process.stdout.write(
        `${(share * 100).toFixed(1).padStart(5)} % ${(share * us).toFixed(1).padStart(6)} µs  ${name}\n`,
      );
    }
  }
}

function nameOf({ functionName, url, lineNumber }: Profile['nodes'][number]['callFrame']): string {
  return `${functionName || '(anonymous)'} ${shortened(url)}:${lineNumber + 1}`;
}

function shortened(url: string): string {
  return url.replace(/^.*\/(?=(?:src|node_modules)\/)/, '');
}
