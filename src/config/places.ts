/** Remembers where each key and value of the file stands, and which variables a value was made from. */
import type { Path, Position } from './problem.ts';

interface Place {
  /** Absent for an item of a list, and for the file as a whole. */
  readonly key: Position | undefined;
  readonly value: Position;
  /** Names of the variables that the value was made from. */
  variables: readonly string[];
  /** A problem that hides what the value would be; others about it would only be noise. */
  broken: boolean;
}

const start: Position = { line: 1, column: 1 };

export class Places {
  readonly #places = new Map<string, Place>();

  set(path: Path, value: Position, key?: Position): void {
    this.#places.set(idOf(path), { key, value, variables: [], broken: false });
  }

  setVariables(path: Path, variables: readonly string[]): void {
    const place = this.#places.get(idOf(path));
    if (place) place.variables = variables;
  }

  setBroken(path: Path): void {
    const place = this.#places.get(idOf(path));
    if (place) place.broken = true;
  }

  has(path: Path): boolean {
    return this.#places.has(idOf(path));
  }

  /** Where the value stands; for one that is missing, the nearest map or list around it. */
  ofValue(path: Path): Position {
    const place = this.#places.get(idOf(path));
    if (place) return place.value;
    return path.length === 0 ? start : this.ofValue(path.slice(0, -1));
  }

  ofKey(path: Path): Position {
    return this.#places.get(idOf(path))?.key ?? this.ofValue(path);
  }

  variablesOf(path: Path): readonly string[] {
    return this.#places.get(idOf(path))?.variables ?? [];
  }

  /** Whether a problem of the value itself, or of one around it, is already known. */
  isBroken(path: Path): boolean {
    if (this.#places.get(idOf(path))?.broken) return true;
    return path.length > 0 && this.isBroken(path.slice(0, -1));
  }
}

function idOf(path: Path): string {
  return JSON.stringify(path.map(String));
}
