/** What the strings, names and numbers of a body may be refused for; each rule a name, a test and a sentence. */
import { runsScript } from './script.ts';

/** The rules, in the order in which they are asked. Public: they stand in gateway.yaml, audit records and a metric. */
export const ruleNames = ['control', 'bidi', 'invisible', 'script', 'numbers'] as const;
export type RuleName = (typeof ruleNames)[number];

/** `report` lets the body pass and writes the rule's name down. */
export const ruleActions = ['refuse', 'report', 'off'] as const;
export type RuleAction = (typeof ruleActions)[number];

/** What was found in a body: never the text itself. */
export interface Finding {
  readonly rule: RuleName;
  readonly action: 'refuse' | 'report';
}

/** How a refusal says it: “… holds” */
export const ruleWords: Readonly<Record<RuleName, string>> = {
  control: 'a control character',
  bidi: 'a character that reorders the text around it',
  invisible: 'invisible characters',
  script: 'markup or a URL that runs script',
  numbers: 'a number that parsers read differently',
};

export type TextRule = Exclude<RuleName, 'numbers'>;

/** Whether the rule objects to a string or name. */
export function objects(rule: TextRule, text: string): boolean {
  if (rule === 'script') return runsScript(text);
  return !printable.test(text) && characters[rule].test(text);
}

/** ASCII and line ends alone: nothing that is not seen. */
const printable = /^[\t\n\r\x20-\x7e]*$/;

const characters: Readonly<Record<Exclude<TextRule, 'script'>, RegExp>> = {
  // C0 without tab and line ends, DEL, C1, and the line ends that only some readers know.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are the subject
  control: /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]/,
  // Trojan Source (CVE-2021-42574): embeddings, overrides, isolates.
  bidi: /[\u202a-\u202e\u2066-\u2069]/,
  /*
   * Nothing to see, and read all the same. Joiners, marks and selectors pass by ones and twos, as Persian, Hebrew and
   * emoji have them; in a row they carry hidden text, as tag characters do.
   */
  invisible:
    /\u034f|\u17b4|\u17b5|[\u180b-\u180d]|\u180f|[\u00ad\u115f\u1160\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e00ff}\u{e01f0}-\u{e0fff}]|(?:[\u061c\u200c-\u200f]|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]){3}|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]{2}/u,
};

/** Longer than any number with a meaning; readers of big numbers take quadratic time. */
const numberCharsMax = 64;

/**
 * Whether a number means the same to a reader of doubles, of 64-bit integers and of big numbers: neither `1e400`
 * (infinite, or an error), nor `1e-400` (zero, or not), nor a whole number above 2^53 - 1 without a fraction or
 * exponent. `-0` passes: only its sign is lost.
 */
export function isReadAlike(literal: string): boolean {
  if (literal.length > numberCharsMax) return false;
  const value = Number(literal);
  if (!Number.isFinite(value)) return false;
  if (value === 0) return !/^[^e]*[1-9]/i.test(literal);
  return /[.e]/i.test(literal) || Number.isSafeInteger(value);
}
