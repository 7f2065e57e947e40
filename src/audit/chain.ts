/**
 * The hash chain of one process. Every line ends with the same three members: `seq` (from 1), `chain` (which
 * process's) and `prev`, the SHA-256 of the line before it in the same chain. Several processes may write to one file
 * in turn, each with a chain of its own; a checkpoint, signed over all that stands before its `sig`, proves its chain
 * up to there.
 *
 * The members stand last and in a fixed form, so that a verifier finds them without parsing the rest.
 */
import { hash, randomBytes } from 'node:crypto';
import type { SigningKey } from './signing.ts';

/** A place in a chain, and what stood there. */
export interface Link {
  readonly chain: string;
  readonly seq: number;
  /** SHA-256 of the line, in base64url. */
  readonly hash: string;
}

/** `prev` of a chain's first line: nothing came before. */
export const noHash = 'A'.repeat(43);

/** A line that stands in the chain once it is committed: what a full buffer refuses must leave no gap. */
export interface SealedLine extends Link {
  /** Line end included. */
  readonly line: string;
}

export class Chain {
  readonly id = randomBytes(16).toString('hex');
  #head: Link = { chain: this.id, seq: 0, hash: noHash };

  /** The last line committed. */
  get head(): Link {
    return this.#head;
  }

  /** The next line. @param record a JSON object as text, without its closing brace */
  seal(record: string): SealedLine {
    return this.#sealed(`${this.#linked(record)}}`);
  }

  /** The next line, signed. */
  sealSigned(record: string, key: SigningKey): SealedLine {
    const signed = this.#linked(record);
    return this.#sealed(`${signed},"sig":"${key.sign(signed)}"}`);
  }

  commit({ chain, seq, hash: ofLine }: SealedLine): void {
    this.#head = { chain, seq, hash: ofLine };
  }

  #linked(record: string): string {
    return `${record},"seq":${this.#head.seq + 1},"chain":"${this.id}","prev":"${this.#head.hash}"`;
  }

  /** @param line without its line end */
  #sealed(line: string): SealedLine {
    return { chain: this.id, seq: this.#head.seq + 1, hash: hashOf(line), line: `${line}\n` };
  }
}

/** @param line without its line end */
export function hashOf(line: string | Uint8Array): string {
  return hash('sha256', line, 'base64url');
}

/** The members by which a line stands in its chain. */
export interface Place {
  readonly seq: number;
  readonly chain: string;
  readonly prev: string;
  /** On a checkpoint: its signature. */
  readonly sig: string | undefined;
}

/** More than the members take. */
const placeBytesMax = 256;

const placePattern =
  /,"seq":([1-9]\d{0,14}),"chain":"([0-9a-f]{32})","prev":"([\w-]{43})"(?:,"sig":"([\w-]{86})")?\}$/;

/** @param line without its line end */
export function placeIn(line: Buffer): Place | undefined {
  const match = placePattern.exec(line.toString('latin1', Math.max(0, line.length - placeBytesMax)));
  if (match === null) return undefined;
  const [, seq = '', chain = '', prev = '', sig] = match;
  return { seq: Number(seq), chain, prev, sig };
}

/** What of a signed line was signed. */
export function signedPart(line: string): string {
  return line.slice(0, line.lastIndexOf(',"sig":"'));
}
