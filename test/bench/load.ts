/** The load: wrk, on a core that no peer has, for a bounded time, and what it cost the peer it was sent to. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Pool } from 'undici';
import { busySecondsOf, cpuSecondsOf } from './machine.ts';
import { type Peer, peerCore, toolCore } from './peers.ts';

/** One request that wrk sends. */
export interface BenchRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes of body. */
  readonly bytes?: number;
}

export interface Contender {
  readonly name: string;
  readonly peer: Peer;
  /** Sent in turn. */
  readonly requests: readonly BenchRequest[];
  /** What every answer is. */
  readonly status: number;
}

export interface Sample {
  /** Microseconds of processor time a request. */
  readonly us: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the peer's core: what the peer used, and what others did. */
  readonly used: number;
  readonly others: number;
  /** Answers that were not the expected one, and connections that broke, of all. */
  readonly wrong: number;
}

export interface Drive {
  readonly connections: number;
  readonly seconds: number;
  /** Milliseconds on average that a connection rests between two requests. */
  readonly pauseMs?: number;
}

const run = promisify(execFile);

export async function drive(
  { name, peer, requests, status }: Contender,
  { connections, seconds, pauseMs = 0 }: Drive,
  directory: string,
): Promise<Sample> {
  const file = join(directory, `${name.replaceAll(/\W+/g, '-')}.requests`);
  writeFileSync(file, requests.map(lineOf).join(''));
  const [cpu, busy] = [cpuSecondsOf(peer.pid), busySecondsOf(peerCore)];
  const startedMs = performance.now();
  const { stdout } = await run('taskset', [
    ...['-c', String(toolCore), 'wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s'],
    ...['-s', join(import.meta.dirname, 'drive.lua'), peer.url, '--', file, String(pauseMs)],
  ]);
  const elapsed = (performance.now() - startedMs) / 1000;
  const used = cpuSecondsOf(peer.pid) - cpu;
  const others = Math.max(0, busySecondsOf(peerCore) - busy - used);
  const said = JSON.parse(/^@(\{.*\})$/m.exec(stdout)?.[1] ?? 'null');
  if (said === null || said.requests === 0) throw new Error(`wrk got nothing from ${name}: ${stdout}`);
  const refused = status >= 400 ? said.requests - said.refused : said.refused;
  return {
    us: (used * 1e6) / said.requests,
    perSecond: said.requests / said.seconds,
    p50Ms: said.p50Ms,
    p99Ms: said.p99Ms,
    used: used / elapsed,
    others: others / elapsed,
    wrong: (refused + said.broken) / said.requests,
  };
}

function lineOf({ method = 'GET', path, headers = {}, bytes = 0 }: BenchRequest): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return `${[method, path, bytes, ...lines].join('\t')}\n`;
}

/** Each of its requests once, so that all are known. @throws when one is not answered as it is meant to be */
export async function sendEach({ name, peer, requests, status }: Contender): Promise<void> {
  const pool = new Pool(peer.url, { connections: 32 });
  const left = requests.values();
  const worker = async () => {
    for (const { method = 'GET', path, headers = {} } of left) {
      const answer = await pool.request({ method: method as 'GET', path, headers: { ...headers } });
      await answer.body.dump();
      if (answer.statusCode !== status)
        throw new Error(`${name} answers ${answer.statusCode}, not ${status}`);
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  await pool.destroy();
}

/** One request by hand: that it answers as it is meant to. @throws when it does not within ten seconds */
export async function prove({ name, peer, requests, status }: Contender): Promise<void> {
  const [request] = requests;
  if (request === undefined) throw new Error(`${name} sends nothing`);
  const { method = 'GET', path, headers = {}, bytes = 0 } = request;
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(peer.url + path, {
      method,
      headers,
      ...(bytes > 0 && { body: 'x'.repeat(bytes) }),
    }).catch(() => undefined);
    const text = await answer?.text().catch(() => '');
    if (answer?.status === status) return;
    if (attempt === 100) throw new Error(`${name} answers ${answer?.status} ${text}, not ${status}`);
    await delay(100);
  }
}
