/**
 * Variables in the values of gateway.yaml.
 *
 * - `${X}` is the value of the environment variable X; unset is a problem, empty is not.
 * - `${X:-text}` is `text` where X is unset or empty. Variables do not nest.
 * - `$${` is a literal `${`. Every other `$` is itself, so that a password with a `$` needs no care.
 * - `X_FILE` gives the value of X from a file (a mounted secret), one trailing newline removed; X and X_FILE
 *   both set is a problem.
 *
 * What a variable holds is never looked at for more variables.
 */
import { quoted } from './problem.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** What is wrong with a variable, without its value. */
interface VariableFault {
  readonly message: string;
  readonly hint: string;
}

export interface Expansion {
  readonly text: string;
  /** What the text was made from, as set in the environment: `X` or `X_FILE`. */
  readonly variables: readonly string[];
  readonly faults: readonly VariableFault[];
}

type Lookup =
  | { readonly value: string; readonly source: string | undefined }
  | { readonly fault: VariableFault };

const reference = /\$\$\{|\$\{(?<name>[A-Za-z_][A-Za-z0-9_]{0,127})(?<fallback>:-(?:(?!\$\{)[^}])*)?\}|\$\{/g;

export class Variables {
  readonly #env: Environment;
  readonly #readFile: (path: string) => string;
  /** A file is read once, so that one configuration never holds two versions of a secret. */
  readonly #files = new Map<string, Lookup>();

  /** `readFile` throws what `node:fs` throws. */
  constructor(env: Environment, readFile: (path: string) => string) {
    this.#env = env;
    this.#readFile = readFile;
  }

  /** Puts values in place of the references in one string of the file. */
  expand(source: string): Expansion {
    const variables: string[] = [];
    const faults: VariableFault[] = [];
    const text = source.replace(reference, (whole, name?: string, fallback?: string) => {
      if (whole === '$${') return '${';
      const found = name === undefined ? malformed : this.#lookUp(name, fallback?.slice(2));
      if ('fault' in found) {
        faults.push(found.fault);
        return '';
      }
      if (found.source !== undefined) variables.push(found.source);
      return found.value;
    });
    return { text, variables, faults };
  }

  #lookUp(name: string, fallback: string | undefined): Lookup {
    const value = this.#own(name);
    const file = this.#own(`${name}_FILE`);
    if (value && file) return bothSet(name);
    const found = file ? this.#fromFile(`${name}_FILE`, file) : { value: value ?? '', source: name };
    if ('fault' in found) return found;
    if (found.value === '' && fallback !== undefined) return { value: fallback, source: undefined };
    return value === undefined && !file ? notSet(name) : found;
  }

  /** Not `env[name]` alone: `constructor` is no variable. */
  #own(name: string): string | undefined {
    return Object.hasOwn(this.#env, name) ? this.#env[name] : undefined;
  }

  #fromFile(variable: string, path: string): Lookup {
    const found = this.#files.get(variable) ?? this.#readSecret(variable, path);
    this.#files.set(variable, found);
    return found;
  }

  #readSecret(variable: string, path: string): Lookup {
    try {
      return { value: this.#readFile(path).replace(/\r?\n$/, ''), source: variable };
    } catch (error) {
      const message = `${variable} names the file ${quoted(path)}, which cannot be read: ${whyUnreadable(error)}`;
      return { fault: { message, hint: `Mount the file, or unset ${variable}.` } };
    }
  }
}

const malformed: Lookup = {
  fault: {
    message: 'has a ${ that is not a variable',
    hint: `Write \${NAME} or \${NAME:-default}, without another variable inside, or $\${ for the characters \${ themselves.`,
  },
};

function notSet(name: string): Lookup {
  const hint = `Set ${name} or ${name}_FILE in the environment, or write \${${name}:-default}.`;
  return { fault: { message: `the variable ${name} is not set`, hint } };
}

function bothSet(name: string): Lookup {
  const message = `the variables ${name} and ${name}_FILE are both set`;
  return {
    fault: { message, hint: `Unset one of them: ${name}_FILE gives the value of ${name} from a file.` },
  };
}

/** The cause of a failed read in a few words: an error's own message may hold what was read. */
export function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return unreadable[code] ?? (/^[A-Z_]{1,40}$/.test(code) ? code : 'it is not readable');
}

const unreadable: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
  NOT_REGULAR: 'it is not a regular file',
  EFBIG: 'it is too large',
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
};
