/** What a schema found wrong, field by field, in words for whoever sent it. */
import type { z } from 'zod';
import type { FieldError } from '../errors.ts';
import { fieldErrorsMax, fieldNameCharsMax } from '../limits.ts';

/** At most `fieldErrorsMax`; messages never quote the value given. */
export function fieldErrors(error: z.ZodError): FieldError[] {
  return error.issues.flatMap(errorsOf).slice(0, fieldErrorsMax);
}

/** zod names the object, not the key, when a key is unknown, and calls a missing field one of the wrong type. */
function errorsOf(issue: z.core.$ZodIssue): FieldError[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: named([...path, key]), message: 'is not a field here' }));
  }
  const isMissing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined');
  return [{ field: named(path), message: isMissing ? 'is required' : issue.message }];
}

/** A name of the client's is repeated to it, but not at any length. */
function named(path: readonly string[]): string {
  return path.join('.').slice(0, fieldNameCharsMax);
}
