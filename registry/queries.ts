/** The query parameters of the lists. */
import { z } from 'zod';
import { type FieldError, Refusal } from './errors.ts';
import { pageMax, pageSizeDefault, pageSizeMax, queryCharsMax, queryWordsMax, tagsMax } from './limits.ts';
import { queryWords } from './search.ts';
import { tag } from './tool.ts';
import { validate } from './validate.ts';

const whole = (max: number, otherwise: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(1).max(max))
    .default(otherwise);

/** `GET /tools`. Parameters that are not named here are not looked at, as is usual in HTTP. */
export const listQuery = z.object({
  page: whole(pageMax, 1).describe('Which page, from 1.'),
  page_size: whole(pageSizeMax, pageSizeDefault).describe('Tools on a page.'),
  tag: z
    .array(tag)
    .max(tagsMax)
    .default([])
    .describe('Only tools with this tag; repeat the parameter for tools that have all of them.'),
});

/** `GET /tools/search`. */
export const searchQuery = listQuery.extend({
  q: z
    .string()
    .max(queryCharsMax)
    .transform(queryWords)
    .pipe(
      z
        .array(z.string())
        .min(1, 'must hold a word to search for: letters or digits')
        .max(queryWordsMax, `must hold at most ${queryWordsMax} words`),
    )
    .describe('Plain words. All of them must be in the tool; the last one may be the beginning of a word.'),
});

/**
 * Reads a query string.
 * @throws Refusal `validation_failed`, also when a parameter is repeated that may stand once
 */
export function readQuery<Schema extends z.ZodObject>(
  schema: Schema,
  query: URLSearchParams,
): z.output<Schema> {
  const names = Object.keys(schema.shape);
  const repeated = names.filter((name) => name !== 'tag' && query.getAll(name).length > 1);
  if (repeated.length > 0) throw new Refusal('validation_failed', { errors: repeated.map(repeatedError) });
  const given = names.filter((name) => query.has(name));
  return validate(schema, Object.fromEntries(given.map((name) => [name, parameter(query, name)])));
}

function repeatedError(field: string): FieldError {
  return { field, message: 'must stand once' };
}

function parameter(query: URLSearchParams, name: string): string | string[] | null {
  return name === 'tag' ? query.getAll(name) : query.get(name);
}
