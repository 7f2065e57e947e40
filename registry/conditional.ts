/** Conditional requests, RFC 9110 §13, on entity tags that are made of a tool's revision. */

/** A strong entity tag: a tool's id never names another tool, and each of its revisions is written once. */
export function entityTag(revision: number): string {
  return `"${revision}"`;
}

/** Entity tags as they stand in If-Match and If-None-Match. */
const listedTags = /(?:W\/)?"[^"]*"/g;

/**
 * Whether If-Match lets a tool of this revision be changed: it is absent, `*`, or lists its tag. The comparison
 * is the strong one (§13.1.1), so `W/"1"` never matches.
 */
export function ifMatch(header: string | undefined, revision: number): boolean {
  if (header === undefined || header.trim() === '*') return true;
  return header.match(listedTags)?.includes(entityTag(revision)) ?? false;
}

/** Whether If-None-Match says that the caller has this revision already. The comparison is the weak one (§13.1.2). */
export function isCached(header: string | undefined, revision: number): boolean {
  if (header === undefined) return false;
  if (header.trim() === '*') return true;
  const tags = header.match(listedTags) ?? [];
  return tags.some((tag) => tag.replace(/^W\//, '') === entityTag(revision));
}
