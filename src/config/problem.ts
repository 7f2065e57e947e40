/** What can be wrong with a configuration, told so that an operator can mend it without a manual. */

/** Where a key or value stands in the file; both count from 1, columns in UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** From the top of gateway.yaml down to a value: `['routes', 3, 'permission']`. */
export type Path = readonly PropertyKey[];

export interface ConfigProblem extends Position {
  readonly file: string;
  /** Dotted, as in `routes.3.permission`; empty for the file as a whole. */
  readonly path: string;
  /** What is wrong: no capital, no full stop, never a value that came from a variable. */
  readonly message: string;
  /** What to write instead, as sentences. */
  readonly hint?: string;
}

/** `gateway.yaml:12:5: routes.3.permission: is missing. Write one of read, …` */
export function formatProblem(problem: ConfigProblem): string {
  const { file, line, column, path, message, hint } = problem;
  const subject = path === '' ? '' : `${path}: `;
  return `${file}:${line}:${column}: ${subject}${message}${hint === undefined ? '' : `. ${hint}`}`;
}

/** A configuration that cannot be used: every problem of it at once, in the order of the file. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map(formatProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }

  /** One line a problem. */
  format(): string {
    return this.message;
  }

  override toString(): string {
    return this.message;
  }
}

/** Dotted; what is not a plain word is quoted, so that a file cannot write to the terminal of who checks it. */
export function dotted(path: Path): string {
  return path.map((step) => (/^[\w-]{1,64}$/.test(String(step)) ? String(step) : quoted(step))).join('.');
}

/** A word of the file as it may be shown: escaped and shortened. */
export function quoted(word: PropertyKey): string {
  const text = String(word);
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return JSON.stringify(shown).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '?');
}

/** `a, b or c` */
export function either(words: Iterable<string>): string {
  const all = [...words];
  const last = all.pop() ?? '';
  return all.length === 0 ? last : `${all.join(', ')} or ${last}`;
}
