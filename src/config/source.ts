/** gateway.yaml and what it is made from, followed while the gateway runs: what stands there now, and whether it is new. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileSettleMs } from '../limits.ts';
import { type LoadedConfig, loadConfig } from './load.ts';
import type { Config } from './schema.ts';
import { readTextFile } from './text-file.ts';
import type { Environment } from './variables.ts';

/** A file that goes on growing is looked at so often, and then taken as it stands. */
const settlingLooksMax = 25;

export class ConfigSource {
  readonly #path: string;
  readonly #env: Environment;
  /** What the last configuration that could be read was made from, beside the file itself. */
  #parts: readonly string[] = [];
  #seen = '';

  constructor(path: string, env: Environment) {
    this.#path = path;
    this.#env = env;
  }

  /** To be watched. */
  get files(): readonly string[] {
    return [this.#path, ...this.#parts];
  }

  /** @throws ConfigError with every problem */
  load(): LoadedConfig {
    const read = new Set<string>();
    const readFile = (file: string) => {
      read.add(file);
      return readTextFile(file);
    };
    const before = contentOf(this.#path);
    this.#seen = this.#print();
    const loaded = loadConfig({ path: this.#path, env: this.#env, readFile });
    this.#parts = [...read].filter((file) => !readByOthers(loaded.config).includes(file));
    // What was written in between is for the next look.
    this.#seen = contentOf(this.#path) === before ? this.#print() : '';
    return loaded;
  }

  /** Whether something stands there that `load` has not seen; half of a file that is being written is waited out. */
  async isNew(): Promise<boolean> {
    let print = this.#print();
    if (print === this.#seen) return false;
    for (let looks = 0; looks < settlingLooksMax; looks += 1) {
      await sleep(fileSettleMs, undefined, { ref: false });
      const again = this.#print();
      if (again === print) break;
      print = again;
    }
    return print !== this.#seen;
  }

  #print(): string {
    const hash = createHash('sha256');
    for (const file of this.files) hash.update(`${file}\n`).update(contentOf(file)).update('\n');
    return hash.digest('base64');
  }
}

function contentOf(file: string): string {
  try {
    return createHash('sha256')
      .update(readTextFile(file, 1024 ** 2))
      .digest('base64');
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'unreadable';
  }
}

/** Files that are followed by who uses them, and that change without the configuration having changed. */
function readByOthers({ listen, auth, audit }: Config): ReadonlyArray<string | undefined> {
  return [
    listen.tls?.cert,
    listen.tls?.key,
    listen.tls?.client_ca,
    ...auth.tokens.keys.map(({ file }) => file),
    audit.signing_key,
    ...audit.sinks.flatMap((sink) =>
      sink.type === 'http' ? [sink.token_file, sink.tls.ca, sink.tls.cert, sink.tls.key] : [],
    ),
    ...auth.issuers.flatMap(({ ca_file, token_file, jwks_file }) => [ca_file, token_file, jwks_file]),
  ];
}
