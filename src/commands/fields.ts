/** Checks what a command was given against the schema of the endpoint that does the same. */
import type { z } from 'zod';
import { fieldErrors } from '../http/field-errors.ts';
import { CommandError } from './terminal.ts';

/** @throws CommandError naming every field that is wrong; values are never repeated */
export function parseFields<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const problems = fieldErrors(result.error).map(({ field, message }) => `${field}: ${message}`);
  throw new CommandError(problems.join('\n'));
}
