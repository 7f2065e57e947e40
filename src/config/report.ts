/** Collects problems, each with the place in the file that it is about. */
import type { Places } from './places.ts';
import { type ConfigProblem, dotted, either, type Path, type Position, quoted } from './problem.ts';

export class Report {
  readonly problems: ConfigProblem[] = [];
  readonly #file: string;
  readonly #places: Places;

  constructor(file: string, places: Places) {
    this.#file = file;
    this.#places = places;
  }

  /** A problem of the value at `path`; of one that is missing, at the map or list around it. */
  value(path: Path, message: string, hint?: string): void {
    if (this.#places.isBroken(path)) return;
    const variables = this.#places.variablesOf(path);
    const origin = variables.length === 0 ? '' : ` (the value comes from ${either(variables)})`;
    this.#add(path, this.#places.ofValue(path), message + origin, hint);
  }

  /** A problem of the key itself. */
  key(path: Path, message: string, hint?: string): void {
    if (!this.#places.isBroken(path)) this.#add(path, this.#places.ofKey(path), message, hint);
  }

  /** ` "word"`, unless it came from a variable: what a variable holds is never shown. */
  named(path: Path, word: string): string {
    return this.#places.variablesOf(path).length === 0 ? ` ${quoted(word)}` : ' of this name';
  }

  lineOf(path: Path): number {
    return this.#places.ofValue(path).line;
  }

  #add(path: Path, at: Position, message: string, hint: string | undefined): void {
    const problem = { file: this.#file, ...at, path: dotted(path), message };
    this.problems.push(hint === undefined ? problem : { ...problem, hint });
  }
}
