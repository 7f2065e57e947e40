/** What the operating system says: of the machine, and of what a process and its children have used. */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

/** USER_HZ: what /proc counts processor time in, on every Linux that Node runs on. */
const ticksASecond = 100;

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Of one minute, before anything was started. */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    node: process.version,
    load: loadavg()[0] ?? 0,
  };
}

/** Seconds of processor time that a process, its threads and its children have used. */
export function cpuSecondsOf(pid: number): number {
  return familyOf(pid).reduce((sum, one) => sum + ticksOf(one), 0) / ticksASecond;
}

/** MiB of a process and its children: `VmRSS` is now, `VmHWM` the most there was. */
export function memoryMiB(pid: number, which: 'VmRSS' | 'VmHWM'): number {
  const kib = familyOf(pid).map((one) =>
    Number(new RegExp(`^${which}:\\s+(\\d+) kB`, 'm').exec(readProc(one, 'status'))?.[1] ?? 0),
  );
  return kib.reduce((sum, one) => sum + one, 0) / 1024;
}

/** Seconds for which a core has worked, for whomever. */
export function busySecondsOf(core: number): number {
  const line = new RegExp(`^cpu${core} (.+)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(' ').map(Number);
  return (user + nice + system + irq + softirq + steal) / ticksASecond;
}

function familyOf(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readProc(pid, `task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(familyOf)];
}

/** The name of the program may hold anything, so fields are counted from behind it. */
function ticksOf(pid: number): number {
  const stat = readProc(pid, 'stat');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}
