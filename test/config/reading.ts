/** Reads a piece of configuration the way a test wants to look at it. */
import { type LoadedConfig, parseConfig } from '../../src/config/load.ts';
import { ConfigError, type ConfigProblem } from '../../src/config/problem.ts';

/** The least that is a configuration; tests add sections below it, from line 9 on. */
export const least = `version: 1
rate_limits:
  classes:
    public: { rate: 100/minute }
    read: { rate: 60/minute }
    write: { rate: 20/minute }
    admin: { rate: 10/minute }
audit: { sinks: [{ type: file, path: audit.log }] }
`;

/** With one upstream on line 9; routes start on line 11. */
export const routed = `${least}upstreams: { registry: { url: "http://127.0.0.1:8081" } }
routes:
`;

type Env = Readonly<Record<string, string>>;
type Files = Readonly<Record<string, string>>;

/** Parses; files are what `X_FILE` variables can name. */
export function parse(source: string | Uint8Array, env: Env = {}, files: Files = {}): LoadedConfig {
  const readFile = (path: string): string => {
    const content = files[path];
    if (content === undefined) throw Object.assign(new Error(`no ${path}`), { code: 'ENOENT' });
    return content;
  };
  return parseConfig(source, { file: 'gateway.yaml', env, readFile });
}

/** What is wrong, without the file's name. */
function problemsOf(source: string | Uint8Array, env: Env = {}, files: Files = {}): readonly ConfigProblem[] {
  try {
    parse(source, env, files);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

/** `9:3 path: message. Hint` for each problem. */
export function linesOf(source: string | Uint8Array, env: Env = {}, files: Files = {}): readonly string[] {
  return problemsOf(source, env, files).map(
    ({ line, column, path, message, hint }) =>
      `${line}:${column} ${path}${path && ': '}${message}${hint === undefined ? '' : `. ${hint}`}`,
  );
}
