/** The program itself, as a user starts it: `portcullis …` in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';

const launcher = resolve('src/portcullis.cjs');

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Program {
  readonly child: ChildProcess;
  /** What it has said so far. */
  stdout(): string;
  stderr(): string;
  /** Waits until standard output holds `pattern`; rejects when the program ends first. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** Sends a signal and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Ended>;
}

/** Every port free, every file below `directory`; the rest of the environment is this process's. */
export function programEnv(directory: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PORT: '0',
    OPERATIONS_PORT: '0',
    REGISTRY_LISTEN: '127.0.0.1:0',
    DATABASE_URL: `sqlite:${join(directory, 'data/portcullis.db')}`,
    REGISTRY_DATABASE_URL: `sqlite:${join(directory, 'data/registry.db')}`,
    AUDIT_LOG_FILE: join(directory, 'audit.log'),
    LOG_LEVEL: 'error',
  };
}

/** @param options `group`: in a process group of its own, as a shell starts it; `cwd`: from there, not from here */
export function startProgram(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  { group = false, cwd }: { group?: boolean; cwd?: string } = {},
): Program {
  const child = spawn(process.execPath, [launcher, ...args], { env, cwd, detached: group, stdio: 'pipe' });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const ended = once(child, 'close');
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(stdout);
          if (match !== null) resolve(match);
        };
        child.stdout.on('data', look);
        void ended.then(() => reject(new Error(`ended before it said ${pattern}: ${stdout}${stderr}`)));
        look();
      }),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await ended;
      return { exitCode: child.exitCode, stdout, stderr };
    },
  };
}

/** Runs a command to its end. @param input its standard input */
export async function runProgram(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input = '',
): Promise<Ended> {
  const { child, stdout, stderr } = startProgram(args, env);
  child.stdin?.end(input);
  await once(child, 'close');
  return { exitCode: child.exitCode, stdout: stdout(), stderr: stderr() };
}
