/** What a command may touch of the world outside; `main.ts` hands in the real one. */
import type { Writable } from 'node:stream';
import type { Environment } from '../config/variables.ts';

export interface Terminal {
  readonly env: Environment;
  /** The user of the system, for the audit log. */
  readonly systemUser: string;
  /** The host's name, for the audit log. */
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  readonly nodeVersion: string;
  /** The streams themselves: an audit log may go to the one, and that of a command, whose output is its own, to the other. */
  readonly stdout: Writable;
  readonly stderr: Writable;
  /** Writes a line to standard output. */
  print(line: string): void;
  /** Writes a line to standard error. */
  complain(line: string): void;
  /** Replaces the line that tells how far a command is; empty takes it away. Absent where nobody looks. */
  readonly progress?: ((line: string) => void) | undefined;
  /** The first line of standard input, without its line end. */
  readLine(): Promise<string>;
}

/** What ends a command with a message and exit code 1. */
export class CommandError extends Error {}

export interface OutputOptions {
  readonly json?: boolean;
}

/** One object for programs, or lines for people: a name someone chose must not write to the terminal of who reads it. */
export function show(
  terminal: Terminal,
  { json }: OutputOptions,
  value: object,
  lines: readonly string[],
): void {
  if (json === true) terminal.print(JSON.stringify(value));
  else for (const line of lines) terminal.print(line.replace(/[\p{Cc}--\t]/gv, '?'));
}
