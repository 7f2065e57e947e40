/** Plain words, on both sides of a search: those a caller asks for, and those hidden in a tool's name. */

/** Letters, marks and digits of any script, and what the index takes for letters as well (private use). */
const wordPattern = /[\p{L}\p{M}\p{N}\p{Co}]+/gu;

/**
 * The words of a query, in order. Everything else separates words, so no operator of any search engine is
 * left in them. A word of marks alone is no word: nothing could be found by it.
 */
export function wordsOf(query: string): string[] {
  const words = query.match(wordPattern) ?? [];
  return words.filter((word) => /[\p{L}\p{N}\p{Co}]/u.test(word));
}

/** A name and its parts, for the index: `getHTTPStatus` is also found by `http`, `get_weather` by `weather`. */
export function nameWords(name: string): string {
  const parts = name.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, ' ');
  return parts === name ? name : `${name} ${parts}`;
}
