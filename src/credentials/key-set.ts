/**
 * A JWK Set (RFC 7517), read with more suspicion than it asks for: what is weak, private, symmetric, or not meant to
 * verify signatures is left out and named; what is no set at all, or too large, is refused whole.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { jwksBytesMax, jwksDepthMax, jwksKeysMax } from '../limits.ts';
import { type PublicKeyAlgorithm, publicKeyAlgorithms } from './jws.ts';
import { judge, publicMembers } from './public-key.ts';
import { parseStrictJson, StrictJsonError } from './strict-json.ts';

/** A public key that signatures are checked with. */
export interface VerificationKey {
  readonly id: string | undefined;
  /** Those that the key's kind, and its `alg` where it has one, allow. */
  readonly algorithms: readonly PublicKeyAlgorithm[];
  readonly key: KeyObject;
}

export interface KeySet {
  /** At least one. */
  readonly keys: readonly VerificationKey[];
  /** Why each of the others was left out: `key 3 (kid "abc") is RSA of 1024 bits; 2048 are the least`. */
  readonly leftOut: readonly string[];
}

/** Not a set that can be used. */
export class KeySetError extends Error {
  readonly fault: 'not_json' | 'too_many_keys' | 'no_usable_key';

  constructor(fault: KeySetError['fault'], message: string) {
    super(message);
    this.fault = fault;
  }
}

const keyIdCharsMax = 256;

/** @throws KeySetError */
export function parseKeySet(text: string): KeySet {
  const entries = entriesOf(text);
  if (entries.length > jwksKeysMax) {
    throw new KeySetError('too_many_keys', `holds ${entries.length} keys; ${jwksKeysMax} are the most`);
  }
  const keys: VerificationKey[] = [];
  const leftOut: string[] = [];
  for (const [index, entry] of entries.entries()) {
    const read = readKey(entry);
    if (typeof read === 'string') leftOut.push(`key ${index}${named(entry)} ${read}`);
    else keys.push(read);
  }
  // An empty set would refuse every token, which is what a failing issuer says more often than one that means it.
  if (keys.length === 0) {
    const why = leftOut.length === 0 ? '' : `: ${leftOut.slice(0, 3).join('; ')}`;
    throw new KeySetError('no_usable_key', `holds no key that can be used${why}`);
  }
  return { keys, leftOut };
}

function entriesOf(text: string): readonly unknown[] {
  if (text.length > jwksBytesMax)
    throw new KeySetError('too_many_keys', `is larger than ${jwksBytesMax} bytes`);
  try {
    const set = parseStrictJson(text, jwksDepthMax);
    if (isObject(set) && Array.isArray(set.keys)) return set.keys;
  } catch (error) {
    if (!(error instanceof StrictJsonError)) throw error;
    throw new KeySetError('not_json', `is not a JWK Set: ${error.message}`);
  }
  throw new KeySetError('not_json', 'is not a JWK Set: it has no list of keys');
}

/** The key, or why it is left out. */
function readKey(entry: unknown): VerificationKey | string {
  if (!isObject(entry)) return 'is no object';
  const { kid, use, key_ops: operations, alg } = entry;
  if (!hasPlainMembers(entry)) return 'has members of an odd kind or length';
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > keyIdCharsMax)) return 'has an odd kid';
  if (entry.kty === 'oct') return 'is symmetric, and whoever can verify with it can sign with it';
  if ('d' in entry) return 'is private, and so known to everyone who asks';
  if (use !== undefined && use !== 'sig') return 'is not for signatures (use)';
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) {
    return 'is not for verifying (key_ops)';
  }
  const key = importKey(entry);
  if (key === undefined) return 'is damaged, or of a kind that is not used here';
  const judgement = judge(key);
  if ('fault' in judgement) return judgement.fault;
  const algorithms = judgement.algorithms.filter((one) => alg === undefined || alg === one);
  if (algorithms.length === 0) return `has an alg that is not ${oneOf(judgement.algorithms)}`;
  return { id: kid, algorithms, key };
}

/** Longest value of each member that makes a key, in characters; an exponent as long as a set may be takes seconds. */
const memberCharsMax: Readonly<Record<string, number>> = { kty: 16, crv: 16, e: 8, n: 1_400, x: 96, y: 96 };

function hasPlainMembers(entry: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(memberCharsMax).every(([name, charsMax]) => {
    const value = Object.hasOwn(entry, name) ? entry[name] : undefined;
    return value === undefined || (typeof value === 'string' && value.length <= charsMax);
  });
}

/** What makes the key and nothing else: certificates and links (x5c, x5u) are not looked at. */
function importKey(entry: JWK): KeyObject | undefined {
  const members = publicMembers(entry);
  if (Object.keys(members).length === 0) return undefined;
  try {
    return createPublicKey({ key: members, format: 'jwk' });
  } catch {
    return undefined;
  }
}

/** For the log; nobody's choice of words gets there unquoted. */
function named(entry: unknown): string {
  if (!isObject(entry) || typeof entry.kid !== 'string') return '';
  return ` (kid ${JSON.stringify(entry.kid.slice(0, 64))})`;
}

function oneOf(algorithms: readonly PublicKeyAlgorithm[]): string {
  return publicKeyAlgorithms.filter((one) => algorithms.includes(one)).join(', ');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
