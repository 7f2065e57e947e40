/** Follows deploy/Dockerfile as far as it goes without an engine: copies, the production install, variables, commands. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { DockerfileParser, type Instruction } from 'dockerfile-ast';

export interface Image {
  /** Where its `/` is. */
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  /** Entry point and command, each path below `root`. */
  readonly start: readonly string[];
  readonly health: readonly string[];
  readonly entry: readonly string[];
  /** A path of the image, as it is here. */
  path(inside: string): string;
}

export const dockerfile = 'deploy/Dockerfile';

/**
 * @param folder empty; the stages are built below it
 * @param state where `/var/lib/portcullis` is, a volume outside of the image
 * @throws Error for an instruction this does not know: a test must not follow less than there is
 */
export function buildImage(folder: string, state: string): Image {
  const stages = new Map<string, string>();
  let image = { root: '', env: {} as Record<string, string>, user: 'root', health: [] as string[] };
  let [entry, command]: [string[], string[]] = [[], []];
  const path = (inside: string) => within(image.root, state, inside);
  let workdir = '/';
  for (const instruction of DockerfileParser.parse(readFileSync(dockerfile, 'utf8')).getInstructions()) {
    const words = instruction.getArguments().map((argument) => argument.getValue());
    const steps: Record<string, () => void> = {
      FROM: () => {
        image = { root: join(folder, String(stages.size)), env: {}, user: 'root', health: [] };
        stages.set(words[2] ?? '', image.root);
        workdir = '/';
      },
      WORKDIR: () => {
        workdir = words[0] ?? '/';
        mkdirSync(path(workdir), { recursive: true });
      },
      COPY: () => {
        const from = /--from=(?<stage>\S+)/.exec(textOf(instruction))?.groups?.stage;
        const target = words.at(-1) ?? '';
        for (const source of words.slice(0, -1)) {
          const here = from === undefined ? resolve(source) : within(stages.get(from) ?? '', state, source);
          const there = path(resolve(workdir, target.endsWith('/') ? join(target, source) : target));
          mkdirSync(dirname(there), { recursive: true });
          // Links as they are: node_modules/.bin is made of them.
          cpSync(here, there, { recursive: true, verbatimSymlinks: true });
        }
      },
      RUN: () => {
        const [program = '', ...args] = words;
        const { status, stderr, error } = spawnSync(program, args, { cwd: path(workdir), encoding: 'utf8' });
        if (status !== 0) throw error ?? new Error(`${words.join(' ')}: ${stderr}`);
      },
      ENV: () => {
        const pairs = words.map((word) => word.split(/=(.*)/s) as [string, string]);
        Object.assign(image.env, Object.fromEntries(pairs));
      },
      USER: () => {
        image.user = words[0] ?? '';
      },
      HEALTHCHECK: () => {
        image.health = jsonOf(instruction);
      },
      ENTRYPOINT: () => {
        entry = jsonOf(instruction);
      },
      CMD: () => {
        command = jsonOf(instruction);
      },
      EXPOSE: () => undefined,
    };
    const step = steps[instruction.getKeyword()];
    if (step === undefined)
      throw new Error(`${dockerfile}: ${instruction.getKeyword()} is not followed here`);
    step();
  }
  const { root, user } = image;
  const env = Object.fromEntries(
    Object.entries(image.env).map(([name, value]) => [name, value.replace('/var/lib/portcullis', state)]),
  );
  const here = (words: readonly string[]) => words.map((word) => (word.startsWith('/') ? path(word) : word));
  return {
    root,
    env,
    user,
    path,
    entry: here(entry),
    start: here([...entry, ...command]),
    health: here(image.health),
  };
}

function within(root: string, state: string, inside: string): string {
  const volume = '/var/lib/portcullis';
  return inside.startsWith(volume) ? join(state, inside.slice(volume.length)) : join(root, inside);
}

function textOf(instruction: Instruction): string {
  return instruction.getTextContent();
}

/** What is copied out of the context. */
export function copiedSources(): string[] {
  return DockerfileParser.parse(readFileSync(dockerfile, 'utf8'))
    .getInstructions()
    .filter((instruction) => instruction.getKeyword() === 'COPY' && !textOf(instruction).includes('--from='))
    .flatMap((instruction) => instruction.getArguments().slice(0, -1))
    .map((argument) => argument.getValue().replace(/^\.\//, ''));
}

/** The exec form; the shell form has no shell here. */
function jsonOf(instruction: Instruction): string[] {
  const list = /\[.*\]\s*$/s.exec(textOf(instruction))?.[0];
  if (list === undefined) throw new Error(`${instruction.getKeyword()} is not in the exec form`);
  return JSON.parse(list);
}
