/** The forms that values of gateway.yaml take. An error here is a noun phrase that fits "must be …" and "Write …". */
import { z } from 'zod';
import { either } from './problem.ts';

/** A map with exactly these keys. */
export const section = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.strictObject(shape, { error: `a map with the keys ${Object.keys(shape).join(', ')}` });

const nameRule = 'a name of 1 to 63 of a-z, 0-9, _ and -, starting with a letter';
/** Names that become labels, headers and bucket keys. */
export const name = z.string({ error: nameRule }).regex(/^[a-z][a-z0-9_-]{0,62}$/, { error: nameRule });

/** A map from names that the operator chooses. */
export const named = <Value extends z.core.SomeType>(what: string, value: Value) =>
  z.record(name, value, { error: `a map of ${what}` });

export const oneOf = <const Words extends readonly string[]>(words: Words, why = '') =>
  z.enum(words, { error: `one of ${either(words)}${why}` });

/** Text of 1 to `charsMax` characters, none of them a control character. */
export const text = (what: string, charsMax: number) =>
  z
    .string({ error: what })
    .regex(/^\P{Cc}+$/u, { error: what })
    .max(charsMax, { error: `${what}, at most ${charsMax} characters` });

/** The path of a file, from the directory the program was started in. */
export const filePath = (example: string) => text(`the path of a file such as ${example}`, 4_096);
