/** Plain words, on both sides of a search: those a caller asks for, and those hidden in a tool's name. */

/** Letters, marks and digits of any script. */
const wordPattern = /[\p{L}\p{M}\p{N}]+/gu;

/**
 * The words of a text, in order. Everything else separates words, so no operator of any search engine is left
 * in them. Marks alone are no word: nothing could be found by them.
 */
export function wordsOf(text: string): string[] {
  const words = text.match(wordPattern) ?? [];
  return words.filter((word) => /[\p{L}\p{N}]/u.test(word));
}

/**
 * A text as it goes into the index: its words and nothing else. What a word is must be said once: the tables of
 * FTS5 are older than half of the emoji, and it takes those for letters of the word beside them.
 */
export function indexText(text: string): string {
  return wordsOf(text).join(' ');
}

/** A name and its parts, for the index: `getHTTPStatus` is also found by `http`, `get_weather` by `weather`. */
export function nameWords(name: string): string {
  const parts = name.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, ' ');
  return indexText(parts === name ? name : `${name} ${parts}`);
}
