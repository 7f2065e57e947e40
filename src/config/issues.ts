/** Turns what the schema found into problems: a position, what is wrong, what to write instead. */
import type { z } from 'zod';
import { gatewayJsonSchema, type JsonSchema, knownKeysAt } from './json-schema.ts';
import { nearest } from './nearest.ts';
import type { Path } from './problem.ts';
import type { Report } from './report.ts';

/** What a value must be, where the schema itself does not say: a noun phrase, as everywhere in the schema. */
export function expectedOf(issue: z.core.$ZodRawIssue): string {
  if (issue.code === 'invalid_type') return nouns[String(issue.expected)] ?? 'another kind of value';
  return 'a value that this key takes';
}

const nouns: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys and values',
  record: 'a map of keys and values',
};

/** Tells the issues of `source` (the values that were parsed) to `report`. */
export function reportIssues(issues: readonly z.core.$ZodIssue[], source: unknown, report: Report): void {
  const schema = gatewayJsonSchema();
  for (const issue of issues) {
    if (issue.code === 'unrecognized_keys') reportUnknownKeys(issue, schema, report);
    else if (issue.code === 'invalid_key') reportBadName(issue, report);
    else reportValue(issue.path, issue.message, valueAt(source, issue.path), report);
  }
}

function reportValue(path: Path, expected: string, found: unknown, report: Report): void {
  if (found === undefined) report.value(path, 'is missing', `Write ${expected}.`);
  else if (found === null && path.length === 0) {
    report.value(path, 'the file is empty', 'Start from the gateway.yaml that ships with Portcullis.');
  } else if (found === null) report.value(path, 'is empty', `Write ${expected}.`);
  else report.value(path, `must be ${expected}`);
}

function reportUnknownKeys(
  issue: z.core.$ZodIssueUnrecognizedKeys,
  schema: JsonSchema,
  report: Report,
): void {
  const { path, keys } = issue;
  const known = knownKeysAt(schema, path);
  for (const key of keys) {
    const keyPath = [...path, key];
    report.key(keyPath, 'is not a key here', adviceFor(key, known));
  }
}

function adviceFor(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near === undefined ? `Remove it; the keys here: ${known.join(', ')}.` : `Did you mean ${near}?`;
}

function reportBadName(issue: z.core.$ZodIssueInvalidKey, report: Report): void {
  const rule = issue.issues[0]?.message ?? 'a name';
  report.key(issue.path, `must be ${rule}`);
}

/** What the file holds at a path; `undefined` where nothing stands. */
export function valueAt(source: unknown, path: Path): unknown {
  let value = source;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Reflect.get(value, step);
  }
  return value;
}
