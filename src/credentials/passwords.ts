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
  /**
   * Runs `work` when its turn comes, with a `verify` to be called in it once; `hash` must not be, since it waits for
   * a turn of its own. What `work` looks at just before it verifies, and writes just after, no other try can slip past.
   * @throws Refusal `overloaded`
   */
  inTurn<T>(work: (verify: Verify) => Promise<T>): Promise<T>;
}

/** Takes one hash's time with or without a stored hash. */
export type Verify = (stored: string | undefined, password: string) => Promise<PasswordCheck>;

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
  const verify: Verify = async (stored, password) => {
    const same = await hashing.verify(stored ?? dummy, normalized(password));
    const matches = same && stored !== undefined;
    return { matches, outdated: matches && needsRehash(stored, options) };
  };
  return {
    hash: (password) => turns.run(() => hashing.hash(normalized(password), options)),
    inTurn: (work) => turns.run(() => work(verify)),
  };
}

/** Two keyboards may compose the same letter differently (RFC 8265 §4.2.2). */
function normalized(password: string): string {
  return password.normalize('NFC');
}
