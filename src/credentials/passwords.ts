/** Password hashes: Argon2id (RFC 9106), a bounded number at once, alike in time whether a user exists or not. */
import { randomBytes } from 'node:crypto';
import { argon2id, type HashOptions, hash, needsRehash, verify } from 'argon2';
import type { PasswordConfig } from '../config/schema.ts';
import { passwordHashesAtOnceMax, passwordHashesWaitingMax } from '../limits.ts';
import { Turns } from './password-turns.ts';

/** The two functions that cost; a test counts them. */
export interface Hashing {
  hash(password: string, options: HashOptions): Promise<string>;
  verify(stored: string, password: string): Promise<boolean>;
}

interface PasswordCheck {
  readonly matches: boolean;
  /** The stored hash was made with other parameters than today's; hash the password anew. */
  readonly outdated: boolean;
}

export interface Passwords {
  /** A hash in PHC form. @throws Refusal `overloaded` */
  hash(password: string): Promise<string>;
  /** Takes one hash's time with or without a stored one. @throws Refusal `overloaded` */
  verify(stored: string | undefined, password: string): Promise<PasswordCheck>;
}

/** Hashes one dummy, so that the first unknown user is not told apart by a slower answer. */
export async function openPasswords(
  config: PasswordConfig,
  hashing: Hashing = { hash: (password, options) => hash(password, options), verify },
): Promise<Passwords> {
  const options: HashOptions = {
    type: argon2id,
    version: 0x13,
    hashLength: 32,
    memoryCost: Math.floor(config.memory / 1024), // KiB
    timeCost: config.iterations,
    parallelism: config.parallelism,
  };
  const turns = new Turns(passwordHashesAtOnceMax, passwordHashesWaitingMax);
  const dummy = await hashing.hash(randomBytes(32).toString('base64url'), options);
  return {
    hash: (password) => turns.run(() => hashing.hash(normalized(password), options)),
    async verify(stored, password) {
      const same = await turns.run(() => hashing.verify(stored ?? dummy, normalized(password)));
      const matches = same && stored !== undefined;
      return { matches, outdated: matches && needsRehash(stored, options) };
    },
  };
}

/** Two keyboards may compose the same letter differently (RFC 8265 §4.2.2). */
function normalized(password: string): string {
  return password.normalize('NFC');
}
