/** `portcullis check`: every problem of the configuration at once. */
import { loadConfig } from '../config/load.ts';
import { ConfigError, formatProblem } from '../config/problem.ts';
import { type OutputOptions, show, type Terminal } from './terminal.ts';

/** @returns whether the configuration can be used */
export function check(terminal: Terminal, path: string, options: OutputOptions): boolean {
  try {
    const { digest, warnings } = loadConfig({ path, env: terminal.env, pipe: true });
    const lines = [
      ...warnings.map((warning) => `warning: ${formatProblem(warning)}`),
      `${path} is good (${digest})`,
    ];
    show(terminal, options, { ok: true, digest, problems: [], warnings }, lines);
    return true;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { problems } = error;
    show(terminal, options, { ok: false, problems, warnings: [] }, problems.map(formatProblem));
    return false;
  }
}
