/** Runs what the README prints as an operator would: in a shell, in the gateway's directory. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import { logIn } from '../support/gateway.ts';
import { type Program, programEnv, startProgram } from '../support/program.ts';
import { until } from '../support/redis.ts';

/** In the checkout npx finds the program by its package; here it is named. */
const words = `portcullis() { '${process.execPath}' '${resolve('src/portcullis.cjs')}' "$@"; }
npx() { while [ "$1" != portcullis ]; do shift; done; shift; portcullis "$@"; }
`;

export interface Said {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Ends with the first command that fails, and gives its exit code. Not spawnSync: servers here have to go on. */
export function shell(script: string, cwd: string, env: NodeJS.ProcessEnv): Promise<Said> {
  const options = { cwd, env, maxBuffer: 16 * 1024 ** 2, timeout: 120_000 };
  return new Promise((done) => {
    execFile('bash', ['-eu', '-o', 'pipefail', '-c', words + script], options, (error, stdout, stderr) => {
      done({ exitCode: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

/** The same, with the variables that it exported. */
async function shellExporting(
  script: string,
  cwd: string,
  env: NodeJS.ProcessEnv,
): Promise<Said & { readonly env: NodeJS.ProcessEnv }> {
  const file = join(cwd, 'exported');
  const said = await shell(`${script}\nenv -0 > '${file}'`, cwd, env);
  if (said.exitCode !== 0) return { ...said, env };
  const pairs = readFileSync(file, 'utf8').split('\0').filter(Boolean);
  return { ...said, env: Object.fromEntries(pairs.map((pair) => pair.split(/=(.*)/s) as [string, string])) };
}

/** Programs as npm finds them here, without what the test runner hands down. */
export const npmEnv = {
  ...process.env,
  PATH: `${resolve('node_modules/.bin')}:${process.env.PATH}`,
  NODE_OPTIONS: '',
};

/** Runs a command until it has said `pattern`, then ends it and whatever it has started. @returns what it said */
export async function saidUntil(
  t: Test,
  words: string,
  pattern: RegExp,
  cwd: string,
  more: NodeJS.ProcessEnv = {},
): Promise<string> {
  const child = spawn('bash', ['-c', words], { cwd, env: { ...npmEnv, ...more }, detached: true });
  const ended = once(child, 'close');
  const kill = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All of it has ended.
    }
  };
  t.teardown(kill);
  let said = '';
  await new Promise<void>((done) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        said += data;
        if (pattern.test(said)) done();
      });
    void ended.then(() => done());
  });
  kill();
  await ended;
  return said;
}

/** `npm start` in a folder of its own, with the folder's gateway.yaml, and again after whatever was done to the folder. */
export class Place {
  readonly directory: string;
  env: NodeJS.ProcessEnv;
  traffic = '';
  operations = '';
  /** Of the first start. */
  key = '';
  password = '';
  #program: Program | undefined;

  constructor(t: Test, { yaml = readFileSync('gateway.yaml', 'utf8'), env = {} } = {}) {
    this.directory = t.testdir({ 'gateway.yaml': yaml });
    this.env = { ...programEnv(this.directory), REQUESTS_PER_MINUTE: '100000', ...env };
    t.teardown(() => this.#program?.stop('SIGKILL'));
  }

  async start(): Promise<void> {
    const program = startProgram(['quickstart'], this.env, { cwd: this.directory });
    this.#program = program;
    const said = async (pattern: RegExp) => (await program.said(pattern))[1] ?? '';
    this.traffic = await said(/traffic +(\S+)/);
    this.operations = await said(/metrics +(\S+)\/metrics/);
    this.key ||= await said(/API key +(\S+)/);
    this.password ||= await said(/admin password +(\S+)/);
  }

  async stop(): Promise<void> {
    await this.#program?.stop();
  }

  /** The README's words, with this gateway's ports. */
  shell(script: string, env = this.env): Promise<Said> {
    return shell(this.#here(script), this.directory, env);
  }

  shellExporting(script: string) {
    return shellExporting(this.#here(script), this.directory, this.env);
  }

  /** The status of a request to the registry with this key or token, once the registry has the keys of assertions. */
  async status(credential = this.key): Promise<number> {
    let status = 503;
    await until(async () => {
      const response = await fetch(`${this.traffic}/tools`, {
        headers: { authorization: `Bearer ${credential}` },
      });
      await response.arrayBuffer();
      status = response.status;
      return status !== 503;
    });
    return status;
  }

  logIn(): Promise<string> {
    return logIn(this.traffic, 'admin', this.password);
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.directory, name), text);
  }

  #here(script: string): string {
    return script
      .replaceAll('http://127.0.0.1:9464', this.operations)
      .replaceAll('http://127.0.0.1:8000', this.traffic);
  }
}
