/** Finds what a misspelt word probably meant. */

/** Longer words are not compared: the table below grows with the square of their length. */
const wordCharsMax = 64;

/** The candidate nearest to `word`, if it is near enough to be worth suggesting. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > wordCharsMax) return undefined;
  const near = [...candidates]
    .filter((candidate) => candidate.length <= wordCharsMax)
    .map((candidate) => ({ candidate, distance: editDistance(plain(word), plain(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.floor(candidate.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.candidate;
}

/** Case and the choice between `-` and `_` are not worth a distance. */
function plain(word: string): string {
  return word.toLowerCase().replaceAll('-', '_');
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours, each 1. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  const cell = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    rows.push(current);
    for (let column = 1; column <= b.length; column++) {
      const substitution = cell(row - 1, column - 1) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      const swap = swapped ? cell(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY;
      current.push(Math.min(cell(row - 1, column) + 1, cell(row, column - 1) + 1, substitution, swap));
    }
  }
  return cell(a.length, b.length);
}
