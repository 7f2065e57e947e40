/** Whose look-up is still made when their address has used up its failures. */
import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { knownCredentialsMax } from '../limits.ts';

/**
 * Credentials that verified lately, or were issued here, by digest. It grants nothing: it only says whose look-up is still made when
 * their address has used up its failures, so that an attacker behind the same proxy cannot lock callers out.
 */
export class KnownCredentials {
  readonly #digests = new LRUCache<string, true>({ max: knownCredentialsMax });

  has(text: string): boolean {
    return this.#digests.get(digest(text)) === true;
  }

  /** It was revoked or has expired since. */
  delete(text: string): void {
    this.#digests.delete(digest(text));
  }

  add(text: string): void {
    this.#digests.set(digest(text), true);
  }
}

function digest(text: string): string {
  return hash('sha256', text, 'base64');
}
