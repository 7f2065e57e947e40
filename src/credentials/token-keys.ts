/** The keys of our own tokens: secrets (HS256), or key files (EdDSA, ES256, RS256). The first signs, all verify. */

import type { JWK } from 'jose';
import { readTextFile } from '../config/text-file.ts';
import { type FileWatch, watchFiles } from '../config/watch.ts';
import type { Key } from './jws.ts';
import { KeyPemError, readKeyPem, type TokenKey } from './key-pem.ts';
import { fingerprint, SecretError, type Secrets } from './secrets.ts';

interface SigningKey extends TokenKey {
  readonly signWith: Key;
}

/** One consistent state of the keys; replaced as a whole. */
export interface TokenKeySet {
  readonly first: SigningKey;
  readonly byId: ReadonlyMap<string, TokenKey>;
  /** What is published of them: all but secrets. */
  readonly jwks: readonly JWK[];
}

export interface TokenKeys {
  current(): TokenKeySet;
  close(): void;
}

/** Told of every rereading that found something new; with what is wrong when the old keys stay. */
export type OnReread = (error: SecretError | undefined) => void;

/** Imports the secrets once. */
export async function secretKeys(secrets: Secrets): Promise<TokenKeys> {
  const [first, ...rest] = secrets;
  const set = setOf([await importSecret(first), ...(await Promise.all(rest.map(importSecret)))]);
  return { current: () => set, close: () => {} };
}

async function importSecret(secret: string): Promise<SigningKey> {
  const use = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', Buffer.from(secret), use, false, ['sign', 'verify']);
  return { id: fingerprint(secret), algorithm: 'HS256', verifyWith: key, signWith: key, jwk: undefined };
}

/**
 * Reads the files, and again whenever they change. A state that cannot be read whole is not taken: the keys before
 * it stay, so that a half-written file refuses nobody.
 * @throws SecretError when they cannot be read at all
 */
export function fileKeys(files: readonly string[], onReread: OnReread): TokenKeys {
  return new FileKeys(files, onReread);
}

class FileKeys implements TokenKeys {
  readonly #files: readonly string[];
  readonly #onReread: OnReread;
  readonly #watch: FileWatch;
  #set: TokenKeySet;
  /** What the last rereading said, so that one fault is told once. */
  #said = '';

  constructor(files: readonly string[], onReread: OnReread) {
    this.#files = files;
    this.#onReread = onReread;
    this.#set = readSet(files);
    this.#watch = watchFiles(files, () => this.#reread());
  }

  current(): TokenKeySet {
    return this.#set;
  }

  close(): void {
    this.#watch.close();
  }

  #reread(): void {
    try {
      const set = readSet(this.#files);
      const isNew = namesOf(set) !== namesOf(this.#set);
      if (isNew) this.#set = set;
      if (isNew || this.#said !== '') this.#onReread(undefined);
      this.#said = '';
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      if (error.message !== this.#said) this.#onReread(error);
      this.#said = error.message;
    }
  }
}

function namesOf({ byId }: TokenKeySet): string {
  return [...byId.values()].map(({ id, signWith }) => `${id}${signWith === undefined ? '' : '+'}`).join(' ');
}

function readSet(files: readonly string[]): TokenKeySet {
  return setOf(files.map(readKeyFile));
}

function readKeyFile(file: string): TokenKey {
  try {
    return readKeyPem(readTextFile(file));
  } catch (error) {
    if (error instanceof KeyPemError) throw new SecretError(`the key ${file} ${error.message}`);
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new SecretError(`the key ${file} cannot be read (${code})`);
  }
}

function setOf(keys: readonly TokenKey[]): TokenKeySet {
  const [first] = keys;
  if (first?.signWith === undefined) {
    throw new SecretError(
      'the first of auth.tokens.keys is only public: the first signs, so it has to be private',
    );
  }
  const { signWith } = first;
  // Of a key that stands twice the first is the one meant; the other can only be the public half of it.
  const byId = new Map([...keys].reverse().map((key) => [key.id, key]));
  const jwks = [...new Map(keys.map((key) => [key.id, key.jwk])).values()].filter((jwk) => jwk !== undefined);
  return { first: { ...first, signWith }, byId, jwks };
}
