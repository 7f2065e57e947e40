/** gateway.yaml as JSON Schema, for editors, and for finding which keys a map of the file may have. */
import { z } from 'zod';
import type { Path } from './problem.ts';
import { configSchema } from './schema.ts';

export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** JSON Schema (draft 2020-12) of what may be written: durations as strings, defaults not required. */
export function gatewayJsonSchema(): JsonSchema {
  return z.toJSONSchema(configSchema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ jsonSchema }) => allowVariable(jsonSchema),
  });
}

/** An editor must not underline `${LOG_LEVEL:-info}` for not being one of the levels. */
function allowVariable(schema: JsonSchema): void {
  if (schema.type !== 'string' || !('enum' in schema || 'pattern' in schema || 'const' in schema)) return;
  const { default: standard, ...rule } = schema;
  for (const key of Object.keys(schema)) delete schema[key];
  schema.anyOf = [rule, { type: 'string', pattern: '\\$\\{' }];
  if (standard !== undefined) schema.default = standard;
}

/** The keys that the map at `path` may have by `gateway`; none where its keys are the operator's to choose. */
export function knownKeysAt(gateway: JsonSchema, path: Path): readonly string[] {
  let schemas = [gateway];
  for (const step of path) schemas = schemas.flatMap((schema) => childSchemas(schema, String(step)));
  return schemas.flatMap(alternatives).flatMap((schema) => Object.keys(schema.properties ?? {}));
}

function childSchemas(schema: JsonSchema, step: string): JsonSchema[] {
  return alternatives(schema)
    .flatMap(({ properties, items, additionalProperties }) => [
      properties?.[step],
      items,
      additionalProperties,
    ])
    .filter((child): child is JsonSchema => typeof child === 'object' && !Array.isArray(child));
}

function alternatives(schema: JsonSchema): JsonSchema[] {
  const choices = [schema.anyOf, schema.oneOf, schema.allOf].flatMap((list) => list ?? []);
  return [schema, ...choices.flatMap((choice) => alternatives(choice as JsonSchema))];
}
