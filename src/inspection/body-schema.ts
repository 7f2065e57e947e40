/**
 * A JSON Schema (draft 2020-12) that a route's bodies have to meet. The schema is the operator's and the body the
 * caller's, so what a body could make dear is not compiled: patterns run in linear time (RE2's way, without
 * look-around and back references), references form no circle (with `anyOf` a body could double the work at every
 * level), and `uniqueItems` stands beside a `maxItems` (it compares each with each).
 */
import { createRequire } from 'node:module';
import type * as ajv2020 from 'ajv/dist/2020.js';
import type { ValidateFunction } from 'ajv/dist/2020.js';
import type * as re2js from 're2js';
import { type FieldError, Refusal } from '../errors.ts';
import { fieldNameCharsMax } from '../limits.ts';

/** Loaded with the first schema: a gateway without one keeps the memory. */
const require = createRequire(import.meta.url);

/** Not a schema that is taken; the message fits "the schema …". */
export class BodySchemaError extends Error {}

/** Of a list that may not repeat itself, compared each with each. */
const uniqueItemsMax = 1_000;
/** Nesting of a schema. */
const schemaDepthMax = 64;
const messageCharsMax = 200;

export class BodySchema {
  readonly #validate: ValidateFunction;

  constructor(validate: ValidateFunction) {
    this.#validate = validate;
  }

  /** Names the first fault alone: a list of all could be longer than the body. @throws `validation_failed` */
  check(value: unknown): void {
    if (this.#validate(value)) return;
    const [fault] = this.#validate.errors ?? [];
    const error: FieldError = {
      field: (fault?.instancePath ?? '').slice(0, fieldNameCharsMax),
      message: (fault?.message ?? 'does not meet the schema of this route').slice(0, messageCharsMax),
    };
    throw new Refusal('validation_failed', { errors: [error] });
  }
}

/**
 * @param text the schema file's content
 * @throws BodySchemaError
 */
export function compileBodySchema(text: string): BodySchema {
  const schema = parse(text);
  checkCost(schema);
  // An instance each, so that the `$id`s of two files do not meet.
  const { Ajv2020 } = require('ajv/dist/2020.js') as typeof ajv2020;
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictRequired: false,
    allErrors: false,
    validateFormats: false,
    logger: false,
    ownProperties: true,
    code: { regExp: linearRegExp },
  });
  try {
    return new BodySchema(ajv.compile(schema));
  } catch (error) {
    throw new BodySchemaError(`is not taken: ${reasonOf(error)}`);
  }
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, messageCharsMax);
}

function parse(text: string): object {
  let schema: unknown;
  try {
    schema = JSON.parse(text);
  } catch (error) {
    // V8 says what it met, and mostly where: `… at position 12 (line 2 column 3)`.
    throw new BodySchemaError(`is not JSON: ${reasonOf(error).replaceAll(/\s+/g, ' ')}`);
  }
  if (typeof schema === 'object' && schema !== null && !Array.isArray(schema)) return schema;
  throw new BodySchemaError('is no JSON object');
}

/** What ajv asks of a regular expression, over an engine that never backtracks. */
const linearRegExp = Object.assign(
  (pattern: string) => {
    try {
      const { RE2JS } = require('re2js') as typeof re2js;
      const expression = RE2JS.compile(RE2JS.translateRegExp(pattern));
      // ajv keeps one expression for each name.
      return { test: (text: string) => expression.matcher(text).find(), toString: () => pattern };
    } catch {
      throw new BodySchemaError(
        `the pattern ${JSON.stringify(pattern.slice(0, 80))} cannot be run in linear time (no look-around, no back reference)`,
      );
    }
  },
  // Names the engine in standalone code, which is not made here.
  { code: 'linearRegExp' },
);

type Schema = Readonly<Record<string, unknown>>;

/** @throws BodySchemaError for what would let a body cost more than its length */
function checkCost(root: object): void {
  const refs = new Map<string, Set<string>>();
  walk(root as Schema, '#', 0, (schema, at) => {
    if (schema.$dynamicRef !== undefined || schema.$recursiveRef !== undefined)
      throw new BodySchemaError(
        `has a $dynamicRef at ${at}, and references that depend on the body are not followed`,
      );
    if (typeof schema.$id === 'string' && at !== '#')
      throw new BodySchemaError(`has an $id at ${at}, which would change what references within it name`);
    const max = schema.maxItems;
    if (schema.uniqueItems === true && !(typeof max === 'number' && max <= uniqueItemsMax))
      throw new BodySchemaError(
        `has uniqueItems at ${at} without a maxItems of at most ${uniqueItemsMax} beside it`,
      );
    if (typeof schema.$ref === 'string') refs.set(at, new Set([targetOf(schema.$ref, at)]));
  });
  checkCircles(refs);
}

/** References lead by pointer within the file, so that circles can be seen. */
function targetOf(ref: string, at: string): string {
  if (/^#(?:\/[^%]*)?$/.test(ref)) return ref;
  throw new BodySchemaError(`has a $ref at ${at} that is no pointer within the file, such as #/$defs/name`);
}

function walk(value: unknown, at: string, depth: number, visit: (schema: Schema, at: string) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if (depth > schemaDepthMax) throw new BodySchemaError(`is nested deeper than ${schemaDepthMax}`);
  if (!Array.isArray(value)) visit(value as Schema, at);
  for (const [key, child] of Object.entries(value)) {
    const step = key.replaceAll('~', '~0').replaceAll('/', '~1');
    walk(child, `${at}/${step}`, depth + 1, visit);
  }
}

/** From one reference to those that stand inside what it names. */
function checkCircles(refs: ReadonlyMap<string, ReadonlySet<string>>): void {
  const done = new Set<string>();
  const follow = (at: string, path: readonly string[]): void => {
    if (path.includes(at)) throw new BodySchemaError(`has a $ref at ${at} that leads back to itself`);
    if (done.has(at)) return;
    for (const target of refs.get(at) ?? []) {
      for (const inner of refs.keys()) {
        if (inner === target || inner.startsWith(`${target}/`)) follow(inner, [...path, at]);
      }
    }
    done.add(at);
  };
  for (const at of refs.keys()) follow(at, []);
}
