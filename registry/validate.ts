/** Turns what zod finds wrong into the `errors` of a problem body: every field named, no value repeated. */
import type { z } from 'zod';
import { type FieldError, Refusal } from './errors.ts';
import { fieldCharsMax, fieldErrorsMax } from './limits.ts';

/**
 * @returns the value as the schema gives it
 * @throws Refusal `validation_failed` that names every wrong field, up to a bound
 */
export function validate<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value, { error: message });
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap(fieldErrors).slice(0, fieldErrorsMax);
  throw new Refusal('validation_failed', { errors });
}

/** Only where zod's own sentence would puzzle somebody who does not know it. */
function message(issue: z.core.$ZodRawIssue): string | undefined {
  return issue.code === 'invalid_type' && issue.input === undefined ? 'is required' : undefined;
}

function fieldErrors(issue: z.core.$ZodIssue): FieldError[] {
  if (issue.code !== 'unrecognized_keys') return [{ field: dotted(issue.path), message: issue.message }];
  return issue.keys.map((key) => ({ field: dotted([...issue.path, key]), message: 'is not a known field' }));
}

/** A key may be as long as the body it stood in. */
function dotted(path: readonly PropertyKey[]): string {
  const field = path.map(String).join('.').toWellFormed();
  return field.length <= fieldCharsMax ? field : `${field.slice(0, fieldCharsMax)}…`.toWellFormed();
}
