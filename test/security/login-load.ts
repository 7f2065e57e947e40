/** A gateway in a process of its own, which measures itself while this one floods it with logins. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { startTestGateway } from '../support/gateway.ts';

interface Measured {
  /** Resident memory before, and the most of it during the flood. */
  readonly restBytes: number;
  readonly peakBytes: number;
  readonly delayP99Ms: number;
  readonly delayMaxMs: number;
}

export interface LoginLoad extends Measured {
  /** How many logins were answered with which status. */
  readonly counts: Readonly<Record<string, number>>;
  /** How long /health took meanwhile. */
  readonly healthP99Ms: number;
}

const thisFile = fileURLToPath(import.meta.url);
const roundsMax = 3;
const loginsAtOnce = 100;

/** Three times a hundred logins at once, of names that nobody has, with Argon2 as it is shipped. */
export async function measureLogins(directory: string): Promise<LoginLoad> {
  const gateway = fork(thisFile, [directory], { execArgv: [] });
  const exited = once(gateway, 'exit');
  const url = String(await messageOf(gateway));
  // Without a password nothing is hashed: what connections, records and compiled code take is there before.
  for (let round = 0; round < roundsMax; round += 1) await flood(url, loginsAtOnce, { username: 'warm' });
  gateway.send('measure');
  await messageOf(gateway);
  const counts: Record<string, number> = {};
  const health = watchHealth(url);
  for (let round = 0; round < roundsMax; round += 1) {
    const statuses = await flood(url, loginsAtOnce, { username: `round-${round}`, password: 'wrong' });
    for (const status of statuses) {
      counts[status] = (counts[status] ?? 0) + 1;
    }
  }
  const healthMs = (await health.stop()).toSorted((a, b) => a - b);
  gateway.send('report');
  const measured = (await messageOf(gateway)) as Measured;
  await exited;
  return { ...measured, counts, healthP99Ms: healthMs[Math.floor(healthMs.length * 0.99)] ?? Number.NaN };
}

async function messageOf(child: ChildProcess): Promise<unknown> {
  const [message] = await once(child, 'message');
  return message;
}

/** So many logins at once, each with a name of its own. */
function flood(url: string, count: number, form: { username: string; password?: string }): Promise<number[]> {
  const logins = Array.from({ length: count }, async (_, index) => {
    const body = new URLSearchParams({ ...form, username: `${form.username}-${index}` });
    const response = await fetch(`${url}/auth/login`, { method: 'POST', body });
    await response.arrayBuffer();
    return response.status;
  });
  return Promise.all(logins);
}

/** Asks for /health again and again. */
function watchHealth(url: string): { stop(): Promise<number[]> } {
  const times: number[] = [];
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      const startedMs = performance.now();
      await (await fetch(`${url}/health`)).arrayBuffer();
      times.push(performance.now() - startedMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await watching;
      return times;
    },
  };
}

async function measureItself(directory: string): Promise<void> {
  const yaml = readFileSync('gateway.yaml', 'utf8').replaceAll(
    /(public|failures): { rate: [^},]*\/minute/g,
    '$1: { rate: 100000/minute',
  );
  const gateway = await startTestGateway({ directory, yaml });
  process.send?.(gateway.trafficUrl);
  await once(process, 'message');
  const restBytes = process.memoryUsage.rss();
  let peakBytes = restBytes;
  const sampling = setInterval(() => {
    peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
  }, 5);
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  process.send?.('measuring');
  await once(process, 'message');
  delay.disable();
  clearInterval(sampling);
  const measured: Measured = {
    restBytes,
    peakBytes,
    delayP99Ms: delay.percentile(99) / 1e6,
    delayMaxMs: delay.max / 1e6,
  };
  process.send?.(measured);
  await gateway.close();
  process.disconnect?.();
}

if (process.argv[1] === thisFile) await measureItself(process.argv[2] ?? '');
