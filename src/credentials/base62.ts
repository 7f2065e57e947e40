/** Base62 (0-9, A-Z, a-z): survives a double click, a URL, a header and a shell without quoting. */
import { randomBytes } from 'node:crypto';

/** Gives so many random bytes; `node:crypto`'s `randomBytes` outside tests. */
export type RandomBytes = (bytes: number) => Uint8Array;

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** The largest multiple of 62 a byte can hold: bytes at or above it would favour the first letters. */
const unbiasedBelow = 248;

/**
 * @param chars how many characters, each worth 5.95 bits
 * @returns random base62, every character as likely as any other
 */
export function randomBase62(chars: number, random: RandomBytes = randomBytes): string {
  let text = '';
  while (text.length < chars) {
    for (const byte of random(chars)) {
      if (byte < unbiasedBelow && text.length < chars) text += alphabet[byte % 62];
    }
  }
  return text;
}

/** A non-negative integer below 62^`chars` in base62, padded on the left to exactly `chars` characters. */
export function encodeBase62(value: number, chars: number): string {
  let text = '';
  for (let rest = value; text.length < chars; rest = Math.floor(rest / 62)) text = alphabet[rest % 62] + text;
  return text;
}
