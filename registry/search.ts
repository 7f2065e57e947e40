/** Plain words, on both sides of a search: those a caller asks for, and those hidden in a tool's name. */

/** What is left of a longer word; a query is shorter (`queryCharsMax`), and PostgreSQL takes 2 KB. */
const wordCharsMax = 256;

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
 * A word as it is compared: case does not matter, nor do accents on Latin letters. Said here once for both
 * databases, in the way of FTS5's own `unicode61 remove_diacritics 2`, which finds nothing left to do.
 */
function folded(word: string): string {
  const lower = word.replace(/./gsu, (char) => char.toLowerCase()).replaceAll('ς', 'σ');
  const bare = lower.replace(/\p{Script=Latin}/gu, (char) => char.normalize('NFD'));
  return [...bare.replace(/[\u0300-\u036f]/g, '')].slice(0, wordCharsMax).join('');
}

/** The words to search for. */
export function queryWords(text: string): string[] {
  return wordsOf(text).map(folded);
}

/**
 * A text as it goes into the index: its words, folded, with a space between them, and nothing else. What a word is
 * must be said once: the tables of FTS5 are older than half of the emoji, and it takes those for letters of the
 * word beside them; PostgreSQL's parser knows addresses, versions and more.
 */
export function indexText(text: string): string {
  return queryWords(text).join(' ');
}

/** A name and its parts, for the index: `getHTTPStatus` is also found by `http`, `get_weather` by `weather`. */
export function nameWords(name: string): string {
  const parts = name.replace(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, ' ');
  return indexText(parts === name ? name : `${name} ${parts}`);
}
