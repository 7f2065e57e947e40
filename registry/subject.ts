/** Who asks, as a registered tool remembers it. */
import type { IncomingHttpHeaders } from 'node:http';
import { subjectCharsMax } from './limits.ts';

/**
 * As the gateway says in X-Auth-Subject, percent-encoded: believed only where assertions are off, since anyone can
 * write a header. What cannot be decoded is kept as it stands, since it still says who.
 */
export function subjectTold(headers: IncomingHttpHeaders): string {
  const encoded = headers['x-auth-subject'];
  return typeof encoded === 'string' ? decoded(encoded) : '';
}

/** As it is kept; nobody is `null`. */
export function storedSubject(subject: string): string | null {
  return subject === '' ? null : subject.slice(0, subjectCharsMax).toWellFormed();
}

function decoded(encoded: string): string {
  try {
    const text = decodeURIComponent(encoded);
    return /\p{Cc}/u.test(text) ? encoded : text;
  } catch {
    return encoded;
  }
}
