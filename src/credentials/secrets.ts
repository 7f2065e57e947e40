/** The program's own secrets: given by the operator, or generated once and kept beside an embedded database. */
import { createHmac, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { RandomBytes } from './base62.ts';

const secretBytesMin = 32;

/** A secret that must not be used, or cannot be read; the message says what to do. */
export class SecretError extends Error {}

/** At least one; the first signs or seals, all verify. */
export type Secrets = readonly [string, ...string[]];

export interface SecretSource {
  /** The option, for messages: `auth.tokens.secrets`. */
  readonly option: string;
  /** What the operator gave; empty entries do not count. */
  readonly given: readonly string[];
  /** Where a generated one is kept; `undefined` (a database in memory) keeps it nowhere. */
  readonly file: string | undefined;
  /** Whether one is made and kept there where there is none; one that is not kept is gone with this process. */
  readonly keeps?: boolean;
}

/**
 * The secrets to use: those given, or else the generated one. Whether a given one is guessable is judged where the
 * configuration is loaded; that it is long enough is held here too, since an HMAC takes any.
 * @throws SecretError for one under 32 bytes, or a file that cannot be read, or that others can read
 */
export function loadSecrets(source: SecretSource, random: RandomBytes = randomBytes): Secrets {
  const [first, ...rest] = source.given.filter((secret) => secret !== '');
  if (first !== undefined) {
    for (const secret of [first, ...rest]) requireLong(secret, source.option);
    return [first, ...rest];
  }
  const fresh = Buffer.from(random(secretBytesMin)).toString('base64url');
  if (source.file === undefined) return [fresh];
  return [readKept(source.file) ?? (source.keeps === false ? fresh : keep(source.file, fresh))];
}

/**
 * A short public name of a secret (66 bits, base64url): tells which one made a token or sealed a key,
 * and nothing about it beyond what a token signed with it tells anyway.
 */
export function fingerprint(secret: string): string {
  return createHmac('sha256', secret).update('portcullis fingerprint').digest('base64url').slice(0, 11);
}

function requireLong(secret: string, option: string): void {
  if (Buffer.byteLength(secret) < secretBytesMin) {
    throw new SecretError(
      `${option}: a secret needs at least ${secretBytesMin} bytes; make one with: openssl rand -base64 48`,
    );
  }
}

/** Reads a kept secret; `undefined` when there is none yet. */
function readKept(file: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw new SecretError(`${file}: cannot be read (${codeOf(error)}); it holds a secret this program needs`);
  }
  try {
    return readPrivate(descriptor, file);
  } finally {
    closeSync(descriptor);
  }
}

/** Mode and content of one open file, so that nobody can swap it between the two. */
function readPrivate(descriptor: number, file: string): string {
  const status = fstatSync(descriptor);
  if (!status.isFile()) throw new SecretError(`${file}: is not a regular file`);
  if ((status.mode & 0o077) !== 0) {
    throw new SecretError(`${file}: others than its owner can read this secret; run: chmod 600 ${file}`);
  }
  const secret = readFileSync(descriptor, 'utf8').trim();
  if (Buffer.byteLength(secret) < secretBytesMin) {
    throw new SecretError(
      `${file}: holds no secret of ${secretBytesMin} bytes or more; restore it, or remove it to make a new one (what it signed then no longer verifies)`,
    );
  }
  return secret;
}

/**
 * Keeps a fresh secret, or gives the one that another process kept first. A hard link appears whole or not at
 * all and never replaces, so of two programs starting at once both end with the same secret.
 */
function keep(file: string, fresh: string): string {
  const draft = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeWhole(draft, fresh);
    linkSync(draft, file);
    syncDirectory(dirname(file));
    return fresh;
  } catch (error) {
    const winner = hasCode(error, 'EEXIST') ? readKept(file) : undefined;
    if (winner !== undefined) return winner;
    throw new SecretError(`${file}: cannot be created (${codeOf(error)})`);
  } finally {
    rmSync(draft, { force: true });
  }
}

function writeWhole(file: string, text: string): void {
  const descriptor = openSync(file, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    writeSync(descriptor, `${text}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** The name must survive a power cut too: the API keys sealed with this secret will. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}

function hasCode(error: unknown, code: string): boolean {
  return codeOf(error) === code;
}
