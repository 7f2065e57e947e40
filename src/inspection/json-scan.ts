/**
 * One pass over JSON text, in time linear in its length: what a parser takes and yet two parsers could read
 * differently, or what would cost whoever reads it more than it cost to send. It runs before the parser, which then
 * says whether the text is JSON at all; of text that is not, it only promises to end.
 */

/** How much one body may hold. */
export interface JsonBounds {
  /** Nesting of objects and arrays. */
  readonly depth: number;
  /** Names of members, in all objects together. */
  readonly keys: number;
  /** Elements, in all arrays together; an empty array counts as one. */
  readonly elements: number;
  /** Characters (UTF-16) of one string, unescaped. */
  readonly stringChars: number;
}

/** Where in the text the scan is. */
export interface JsonPlace {
  /** JSON pointer (RFC 6901) of the value at hand, or, for a name, of the object around it; bounded in length. */
  pointer(): string;
}

/** Who wants to see what is in there. May throw, which ends the scan. */
export interface JsonReader {
  /** A string or a name, unescaped. */
  text(value: string, isName: boolean, place: JsonPlace): void;
  /** A number as it is written. */
  number(literal: string, place: JsonPlace): void;
}

/** Not JSON that can be read in one way only, within bounds. Its message names the place, never what stands there. */
export class JsonFault extends Error {
  readonly kind: 'syntax' | 'depth' | 'keys' | 'elements' | 'length' | 'unicode' | 'duplicate';

  constructor(kind: JsonFault['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** An object or array that is open. */
interface Frame {
  /** The names so far; undefined for an array. */
  readonly names: Set<string> | undefined;
  /** The member or element that the scan is in. */
  step: string | number;
}

/**
 * @param reader sees every string, name and number in the order of the text
 * @throws JsonFault, and what `reader` throws
 */
export function scanJson(text: string, bounds: JsonBounds, reader?: JsonReader): void {
  new Scan(text, bounds, reader).run();
}

const quote = 0x22;
const backslash = 0x5c;

class Scan implements JsonPlace {
  readonly #text: string;
  readonly #bounds: JsonBounds;
  readonly #reader: JsonReader | undefined;
  readonly #open: Frame[] = [];
  /** Whether the next string is a name. */
  #nameNext = false;
  #keys = 0;
  #elements = 0;

  constructor(text: string, bounds: JsonBounds, reader: JsonReader | undefined) {
    this.#text = text;
    this.#bounds = bounds;
    this.#reader = reader;
  }

  run(): void {
    const text = this.#text;
    for (let at = 0; at < text.length; ) {
      switch (text.charCodeAt(at)) {
        case quote:
          at = this.#string(at);
          break;
        case 0x7b: // {
          this.#enter({ names: new Set(), step: '' });
          this.#nameNext = true;
          at += 1;
          break;
        case 0x5b: // [
          this.#enter({ names: undefined, step: 0 });
          this.#countElement();
          at += 1;
          break;
        case 0x7d: // }
        case 0x5d: // ]
          this.#open.pop();
          this.#nameNext = false;
          at += 1;
          break;
        case 0x2c: // ,
          this.#next();
          at += 1;
          break;
        default:
          at = this.#other(at);
      }
    }
  }

  pointer(): string {
    const steps = this.#nameNext ? this.#open.slice(0, -1) : this.#open;
    return pointerOf(steps.map(({ step }) => step));
  }

  #enter(frame: Frame): void {
    if (this.#open.push(frame) > this.#bounds.depth)
      throw new JsonFault('depth', `The JSON is nested deeper than ${this.#bounds.depth}.`);
    this.#nameNext = false;
  }

  #next(): void {
    const frame = this.#open.at(-1);
    if (typeof frame?.step === 'number') {
      frame.step += 1;
      this.#countElement();
    } else this.#nameNext = frame !== undefined;
  }

  #countElement(): void {
    this.#elements += 1;
    if (this.#elements > this.#bounds.elements)
      throw new JsonFault('elements', `The JSON has more than ${this.#bounds.elements} array elements.`);
  }

  /** Reads the string that starts at `start`. @returns where it is over */
  #string(start: number): number {
    const end = stringEnd(this.#text, start);
    const value = unescaped(this.#text, start, end);
    const isName = this.#nameNext;
    if (value.length > this.#bounds.stringChars)
      throw new JsonFault(
        'length',
        `${this.#what(isName)} is longer than ${this.#bounds.stringChars} characters.`,
      );
    // Half a surrogate pair: some parsers keep it, some replace it, some refuse.
    if (!value.isWellFormed()) throw new JsonFault('unicode', `${this.#what(isName)} is not valid Unicode.`);
    this.#reader?.text(value, isName, this);
    if (isName) this.#name(value);
    return end;
  }

  /** `JSON.parse` keeps the last of two members of one name, others the first. Compared unescaped: `"\u0061"` is `"a"`. */
  #name(name: string): void {
    const frame = this.#open.at(-1);
    this.#keys += 1;
    if (this.#keys > this.#bounds.keys)
      throw new JsonFault('keys', `The JSON has more than ${this.#bounds.keys} keys.`);
    if (frame?.names?.has(name) === true)
      throw new JsonFault('duplicate', `The object ${where(this.pointer())} has a key twice.`);
    frame?.names?.add(name);
    if (frame !== undefined) frame.step = name;
    this.#nameNext = false;
  }

  /** A number, or a character that is nobody's concern here. @returns where it is over */
  #other(start: number): number {
    const first = this.#text.charCodeAt(start);
    if (first !== 0x2d && !isDigit(first)) return start + 1;
    let end = start + 1;
    while (end < this.#text.length && isOfNumber(this.#text.charCodeAt(end))) end += 1;
    this.#reader?.number(this.#text.slice(start, end), this);
    return end;
  }

  #what(isName: boolean): string {
    return isName ? `A key of the object ${where(this.pointer())}` : `The string ${where(this.pointer())}`;
  }
}

/** `at /a/b`, as a sentence says it. */
export function where(pointer: string): string {
  return pointer === '' ? 'at the top' : `at ${pointer}`;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** A digit, or one of `+ - . E e`. */
function isOfNumber(code: number): boolean {
  return isDigit(code) || code === 0x2b || code === 0x2d || code === 0x2e || code === 0x45 || code === 0x65;
}

/** The index after the closing quote. */
function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) return at + 1;
    if (code === backslash) at += 1;
  }
  throw new JsonFault('syntax', 'The body is not well-formed JSON.');
}

function unescaped(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1);
  if (!inner.includes('\\')) return inner;
  try {
    return String(JSON.parse(text.slice(start, end)));
  } catch {
    throw new JsonFault('syntax', 'The body is not well-formed JSON.');
  }
}

/** One step of a pointer, and the whole of it: an answer repeats so much of what the caller chose to call things. */
const stepCharsMax = 64;
const pointerCharsMax = 256;

/** RFC 6901 §3: `~` is `~0`, `/` is `~1`. */
function pointerOf(steps: ReadonlyArray<string | number>): string {
  const pointer = steps
    .map((step) => `/${String(step).slice(0, stepCharsMax).replaceAll('~', '~0').replaceAll('/', '~1')}`)
    .join('');
  return pointer.length <= pointerCharsMax ? pointer : `${pointer.slice(0, pointerCharsMax)}…`;
}
