/**
 * Reads the YAML of gateway.yaml into plain values, and remembers where each of them stands. YAML 1.2, core
 * schema, one document; no tags, no merge keys; aliases count as often as they are used.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type YAMLError,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { Places } from './places.ts';
import { type ConfigProblem, dotted, type Path, type Position } from './problem.ts';
import type { Variables } from './variables.ts';

/** Values in one file, those behind an alias counted at each use: a few lines of aliases can mean billions. */
const valuesMax = 100_000;
const depthMax = 32;
/** Lines told of a file whose syntax is broken. */
const syntaxProblemsMax = 20;

export interface Source {
  readonly value: unknown;
  readonly places: Places;
  readonly problems: readonly ConfigProblem[];
}

/** Reads `text`. Where the syntax itself is broken, `value` is undefined and the problems say only that. */
export function readDocument(text: string, file: string, variables: Variables): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: '1.2',
    schema: 'core',
    merge: false,
    // Checked by the reader below, in linear time and with a better sentence.
    uniqueKeys: false,
    resolveKnownTags: false,
    prettyErrors: false,
    strict: true,
    stringKeys: false,
  });
  const syntax = [...document.errors, ...document.warnings];
  if (syntax.length > 0) {
    return { value: undefined, places: new Places(), problems: syntaxProblems(syntax, text, file, lines) };
  }
  const reader = new Reader(file, lines, variables);
  return { value: reader.read(document.contents, []), places: reader.places, problems: reader.problems };
}

/** After one mistake the parser stumbles over what follows: the first problem of a line is the one to mend. */
function syntaxProblems(
  errors: YAMLError[],
  text: string,
  file: string,
  lines: LineCounter,
): ConfigProblem[] {
  const byLine = new Map<number, ConfigProblem>();
  for (const error of errors) {
    const position = positionOf(error.pos[0], lines);
    if (byLine.size === syntaxProblemsMax) break;
    if (byLine.has(position.line)) continue;
    const line = text.split('\n', position.line)[position.line - 1] ?? '';
    byLine.set(position.line, { file, ...position, path: '', ...explainSyntax(error, line) });
  }
  return [...byLine.values()];
}

function explainSyntax(error: YAMLError, line: string): { message: string; hint: string } {
  // An unquoted variable inside { } or [ ] is by far the likeliest mistake: its brace opens a map.
  if (opensVariableInFlow(line)) {
    return { message: 'is not YAML', hint: `Inside { } and [ ], put quotes around a value with \${…}.` };
  }
  const known = syntaxAdvice[error.code];
  if (known) return known;
  // The messages of the codes below can quote the file, which may hold a secret; those of the others cannot.
  const message = error.message.replace(/^[A-Z](?=[a-z])/, (first) => first.toLowerCase());
  return { message: `is not YAML: ${message}`, hint: 'Check indentation, quotes and brackets here.' };
}

function opensVariableInFlow(line: string): boolean {
  const [before, ...after] = line.replace(/"[^"]*"|'[^']*'/g, '').split('${');
  return after.length > 0 && /[[{]/.test(before ?? '');
}

const syntaxAdvice: Partial<Record<YAMLError['code'], { message: string; hint: string }>> = {
  UNEXPECTED_TOKEN: {
    message: 'is not YAML: this does not belong here',
    hint: 'Check indentation, quotes and brackets, here and above.',
  },
  TAB_AS_INDENT: { message: 'is indented with a tab', hint: 'Indent with spaces.' },
  MULTIPLE_DOCS: { message: 'starts a second document', hint: 'Keep one document: remove this ---.' },
  TAG_RESOLVE_FAILED: { message: 'has a tag, which is not read here', hint: 'Remove the !tag.' },
  BAD_DIRECTIVE: { message: 'has a directive that is not read here', hint: 'Remove the line with the %.' },
  RESOURCE_EXHAUSTION: { message: 'is nested too deeply', hint: 'Close the brackets that were opened here.' },
  BAD_SCALAR_START: {
    message: 'a value cannot start with this character',
    hint: 'Put quotes around the value.',
  },
  BAD_DQ_ESCAPE: {
    message: 'has a \\ that is not an escape',
    hint: "Write \\\\ for a backslash, or use single quotes, where '' is a quote.",
  },
  BLOCK_AS_IMPLICIT_KEY: {
    message: 'has a second `: ` on the line',
    hint: 'Put quotes around a value that holds `: `, or start a new line, indented.',
  },
};

function positionOf(offset: number, lines: LineCounter): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** Walks the nodes in the order of the file, once. */
class Reader {
  readonly places = new Places();
  readonly problems: ConfigProblem[] = [];
  readonly #file: string;
  readonly #lines: LineCounter;
  readonly #variables: Variables;
  /** By YAML's rule an alias means the last anchor of that name before it. */
  readonly #anchors = new Map<string, unknown>();
  /** What is being read, to find an alias inside its own anchor. */
  readonly #open = new Set<unknown>();
  #valuesLeft = valuesMax;

  constructor(file: string, lines: LineCounter, variables: Variables) {
    this.#file = file;
    this.#lines = lines;
    this.#variables = variables;
  }

  /** The plain value of a node; `undefined` where it has a problem. */
  read(node: unknown, path: Path, key?: Position): unknown {
    const at = this.#at(node) ?? key ?? this.places.ofValue(path);
    this.places.set(path, at, key);
    if (this.#valuesLeft-- <= 0) return this.#tooMuch(path, at);
    if (path.length > depthMax || this.#open.has(node)) {
      return this.#fault(path, at, 'is nested too deeply', 'Check the indentation and the aliases (*name).');
    }
    this.#open.add(node);
    const value = this.#valueOf(node, path, at, key);
    this.#open.delete(node);
    return value;
  }

  #valueOf(node: unknown, path: Path, at: Position, key: Position | undefined): unknown {
    if (isAlias(node)) return this.#alias(node.source, path, at, key);
    if ((isScalar(node) || isMap(node) || isSeq(node)) && node.anchor) this.#anchors.set(node.anchor, node);
    if (isMap(node)) return this.#map(node, path, at);
    if (isSeq(node)) return this.#list(node, path);
    const value = isScalar(node) ? node.value : null;
    return typeof value === 'string' ? this.#text(value, path, at) : value;
  }

  #alias(name: string, path: Path, at: Position, key: Position | undefined): unknown {
    if (this.#anchors.has(name)) return this.read(this.#anchors.get(name), path, key);
    return this.#fault(
      path,
      at,
      `there is no &${name} before this alias`,
      'Put quotes around a value that starts with *.',
    );
  }

  #text(source: string, path: Path, at: Position): string | undefined {
    const { text, variables, faults } = this.#variables.expand(source);
    this.places.setVariables(path, [...new Set(variables)]);
    const distinct = new Map(faults.map((fault) => [fault.message, fault])).values();
    for (const { message, hint } of distinct) this.#fault(path, at, message, hint);
    return faults.length === 0 ? text : undefined;
  }

  #list(node: YAMLSeq, path: Path): unknown[] {
    return node.items.map((item, index) => this.read(item, [...path, index]));
  }

  #map(node: YAMLMap, path: Path, at: Position): Record<string, unknown> {
    const entries = new Map<string, unknown>();
    for (const pair of node.items) this.#entry(pair, path, at, entries);
    return Object.fromEntries(entries);
  }

  #entry(pair: Pair, path: Path, map: Position, entries: Map<string, unknown>): void {
    const at = this.#at(pair.key) ?? map;
    if (pair.key !== null && !isScalar(pair.key)) {
      this.#fault(
        path,
        at,
        'has a key that is not a plain word',
        'Write a key as a word before the colon.',
        false,
      );
      return;
    }
    const key = String(pair.key?.value ?? '');
    const keyPath = [...path, key];
    const fault = this.#keyFault(key, keyPath, entries);
    if (fault) this.#fault(keyPath, at, fault.message, fault.hint, false);
    else entries.set(key, this.read(pair.value, keyPath, at));
  }

  #keyFault(key: string, path: Path, entries: Map<string, unknown>) {
    if (entries.has(key)) {
      const { line } = this.places.ofKey(path);
      return { message: `is given twice, first on line ${line}`, hint: 'Remove one of the two.' };
    }
    if (key === '<<') {
      return {
        message: 'merge keys are not read here',
        hint: 'Write the keys out, or use an alias as a value.',
      };
    }
    if (key.includes('${')) {
      return {
        message: 'a variable cannot stand in a key',
        hint: 'Write the key out; variables stand in values.',
      };
    }
    // Set on a plain object it would change what the object is instead of being a key of it.
    if (key === '__proto__') return { message: 'is not a key', hint: 'Remove it.' };
    return undefined;
  }

  #tooMuch(path: Path, at: Position): undefined {
    if (this.#valuesLeft < -1) return;
    this.#fault(path, at, `the file has more than ${valuesMax} values`, 'Use fewer aliases (*name).');
    // Nothing can be said about a file read in part.
    this.places.setBroken([]);
  }

  #fault(path: Path, at: Position, message: string, hint: string, breaks = true): undefined {
    if (breaks) this.places.setBroken(path);
    this.problems.push({ file: this.#file, ...at, path: dotted(path), message, hint });
  }

  /** An empty value has a range too, right behind its key: the key is where an operator looks. */
  #at(node: unknown): Position | undefined {
    if (!(isScalar(node) || isMap(node) || isSeq(node) || isAlias(node)) || !node.range) return undefined;
    const [from, to] = node.range;
    return from === to && isScalar(node) ? undefined : positionOf(from, this.#lines);
  }
}
