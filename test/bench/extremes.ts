/** What is measured apart from the rounds: latency at half load, memory, idle connections, large bodies. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Contender, drive } from './load.ts';
import { busySecondsOf, cpuSecondsOf, memoryMiB } from './machine.ts';
import { type Bench, type Peer, type Portcullis, peerCore, toolCore } from './peers.ts';
import { doubtsOfOthers, type Spread, spreadOf } from './statistics.ts';

const run = promisify(execFile);

export interface AddedLatency {
  /** Requests a second, of both. */
  readonly perSecond: number;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly doubts: readonly string[];
}

/**
 * What a gateway adds to the floor at a rate it can bear twice. Connections rest between requests, each as long as
 * chance will have it.
 */
export async function addedLatency(
  gateway: Contender,
  floor: Contender,
  {
    perSecond,
    seconds,
    rounds,
    directory,
  }: { perSecond: number; seconds: number; rounds: number; directory: string },
): Promise<AddedLatency> {
  const connections = 32;
  const pauseMs = Math.max(1, Math.round((connections * 1_000) / perSecond));
  const [p50, p99, rates, others]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let round = 0; round < rounds; round += 1) {
    const below = await drive(floor, { connections, seconds, pauseMs }, directory);
    const above = await drive(gateway, { connections, seconds, pauseMs }, directory);
    p50.push(above.p50Ms - below.p50Ms);
    p99.push(above.p99Ms - below.p99Ms);
    rates.push(above.perSecond);
    others.push(above.others, below.others);
  }
  const doubts = doubtsOfOthers(others);
  return { perSecond: spreadOf(rates).median, p50Ms: spreadOf(p50), p99Ms: spreadOf(p99), doubts };
}

export interface Memory {
  readonly restMiB: number;
  readonly idleMiB: number;
  readonly connections: number;
}

/** After a first request, and with so many clients that have asked once and stay. */
export async function memoryOf(gateway: Portcullis, connections: number): Promise<Memory> {
  const restMiB = memoryMiB(gateway.pid, 'VmRSS');
  const sockets: Socket[] = [];
  const { hostname, port } = new URL(gateway.url);
  const ask = async () => {
    const socket = connect(Number(port), hostname);
    sockets.push(socket);
    socket.write(`GET /tools/x HTTP/1.1\r\nHost: bench\r\nX-API-Key: ${gateway.key}\r\n\r\n`);
    const [answer] = await once(socket, 'data');
    if (!String(answer).startsWith('HTTP/1.1 200')) throw new Error(`an idle client was told ${answer}`);
  };
  while (sockets.length < connections)
    await Promise.all(Array.from({ length: Math.min(50, connections - sockets.length) }, ask));
  const idleMiB = memoryMiB(gateway.pid, 'VmRSS');
  for (const socket of sockets) socket.destroy();
  return { restMiB, idleMiB, connections };
}

export interface LargeBody {
  readonly way: 'up' | 'down';
  /** Of bare. */
  readonly speed: Spread;
  /** Of bare. */
  readonly cpu: Spread;
  readonly mibASecond: number;
  /** MiB that the most was over what it had before. */
  readonly grownMiB: number;
  readonly doubts: readonly string[];
}

/** One GiB each way through curl, in turn with the bare pass-through. */
export async function largeBodies(
  bench: Bench,
  gateway: Portcullis,
  { mib, rounds }: { mib: number; rounds: number },
): Promise<LargeBody[]> {
  const bare = await bench.startBare('bodies');
  const send = sendingLarge(bench, mib);
  const results: LargeBody[] = [];
  for (const way of ['up', 'down'] as const) {
    const before = memoryMiB(gateway.pid, 'VmRSS');
    const [speed, cpu, speeds, others]: [number[], number[], number[], number[]] = [[], [], [], []];
    for (let round = 0; round < rounds; round += 1) {
      const below = await send(bare, way);
      const above = await send(gateway, way, gateway.key);
      speed.push(below.seconds / above.seconds);
      cpu.push(above.cpuSeconds / below.cpuSeconds);
      speeds.push(mib / above.seconds);
      others.push(above.others, below.others);
    }
    const grownMiB = Math.max(0, memoryMiB(gateway.pid, 'VmHWM') - before);
    results.push({
      way,
      speed: spreadOf(speed),
      cpu: spreadOf(cpu),
      mibASecond: spreadOf(speeds).median,
      grownMiB,
      doubts: doubtsOfOthers(others),
    });
  }
  return results;
}

/** What sends a body of so many MiB through a peer that leads to the large ones, and says what that took. */
export function sendingLarge(bench: Bench, mib: number) {
  const file = join(bench.directory, 'large.body');
  writeFileSync(file, '');
  truncateSync(file, mib * 1024 ** 2);
  const ways = {
    up: ['-X', 'POST', '-H', 'Expect:', '-H', 'Content-Type: application/octet-stream', '-T', file],
    down: [] as string[],
  };
  return (peer: Peer, way: 'up' | 'down', key = '') => {
    const path = `/bodies/x?bytes=${way === 'down' ? mib * 1024 ** 2 : 0}`;
    return transfer(peer, path, [...ways[way], ...(key === '' ? [] : ['-H', `X-API-Key: ${key}`])]);
  };
}

async function transfer(peer: Peer, path: string, args: readonly string[]) {
  const [cpu, busy] = [cpuSecondsOf(peer.pid), busySecondsOf(peerCore)];
  const { stdout } = await run('taskset', [
    ...['-c', String(toolCore), 'curl', '-s', '-S', '-m', '120', '-o', '/dev/null'],
    ...['-w', '%{http_code} %{time_total}', ...args, peer.url + path],
  ]);
  const [status, seconds] = stdout.split(' ').map(Number);
  if (status !== 200 || seconds === undefined) throw new Error(`a large body was answered ${status}`);
  const cpuSeconds = cpuSecondsOf(peer.pid) - cpu;
  const others = Math.max(0, busySecondsOf(peerCore) - busy - cpuSeconds) / seconds;
  return { seconds, cpuSeconds, others };
}
