/** How many verified credentials are remembered, and how long one may be believed that the database says nothing of. */
import { section } from './forms.ts';
import { duration, integer } from './units.ts';

export const credentialCache = section({
  /** Verified credentials kept; the least recently used one goes first. */
  entries: integer(1, 1_000_000).default(20_000),
}).prefault({});

/**
 * While the database is away, a credential seen before is accepted so long after the last look that showed what is
 * revoked. No less than two looks and an answer take.
 */
export const stalenessMax = duration(3_000, 86_400_000).default(120_000);
