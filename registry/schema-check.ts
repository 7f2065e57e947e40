/**
 * Checks a tool's JSON Schema as data, against the meta-schema of draft 2020-12. The schema itself is never
 * compiled and its patterns never run: it comes from a stranger, and a pattern can be made to run for years
 * (CWE-1333).
 */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import { isDeeperThan, type JsonObject, type Node, nodesOf, type Path } from './json.ts';
import { nestingDepthMax, schemaBytesMax } from './limits.ts';

const dialect = 'https://json-schema.org/draft/2020-12/schema';

/** Compiled once, from the meta-schema that ajv ships; nothing else is ever handed to this instance. */
const metaSchema = new Ajv2020({
  strict: false,
  validateFormats: false,
  allErrors: false,
  logger: false,
}).getSchema(dialect);

/** What is wrong with a schema, and where in it. */
export interface SchemaFault {
  readonly path: Path;
  readonly message: string;
}

/** The first fault of a schema, or undefined when it may be stored. */
export function schemaFault(schema: JsonObject): SchemaFault | undefined {
  return boundFault(schema) ?? rootFault(schema) ?? contentFault(schema) ?? metaSchemaFault(schema);
}

function boundFault(schema: JsonObject): SchemaFault | undefined {
  // Depth first: serializing is recursive, and so is the validator.
  if (isDeeperThan(schema, nestingDepthMax)) {
    return { path: [], message: `must not nest deeper than ${nestingDepthMax} levels` };
  }
  if (Buffer.byteLength(JSON.stringify(schema)) > schemaBytesMax) {
    return { path: [], message: `must not be larger than ${schemaBytesMax / 1024} KiB as JSON` };
  }
  return undefined;
}

function rootFault(schema: JsonObject): SchemaFault | undefined {
  if (schema.type === 'object') return undefined;
  return { path: ['type'], message: 'must be "object", as MCP asks of a tool\'s schema' };
}

function contentFault(schema: JsonObject): SchemaFault | undefined {
  for (const node of nodesOf(schema, nestingDepthMax)) {
    const message = nodeFault(node);
    if (message !== undefined) return { path: node.path, message };
  }
  return undefined;
}

/**
 * Looks at every key, wherever it stands: a local reference can point into `default` or `enum` as well and so
 * turn what looks like data into a schema. A property that is named `$ref` is an object there, and passes.
 */
function nodeFault({ value, path }: Node): string | undefined {
  if (typeof value === 'number' && !Number.isFinite(value)) return 'is a number too large to be kept';
  if (typeof value !== 'string') return undefined;
  switch (path.at(-1)) {
    case '$ref':
    case '$dynamicRef':
      return value.startsWith('#') ? undefined : 'must refer into this schema (#…): nothing else is fetched';
    case '$id':
      return 'is not taken: it would change what the references mean';
    case '$schema':
      return value === dialect || value === `${dialect}#` ? undefined : `must be ${dialect}, or left out`;
    default:
      return undefined;
  }
}

function metaSchemaFault(schema: JsonObject): SchemaFault | undefined {
  if (metaSchema === undefined) throw new Error(`ajv has no meta-schema ${dialect}`);
  if (metaSchema(schema) === true) return undefined;
  const first = metaSchema.errors?.[0];
  return { path: pointerPath(first?.instancePath ?? ''), message: metaSchemaMessage(first) };
}

function metaSchemaMessage(error: ErrorObject | undefined): string {
  const allowed: unknown = error?.params.allowedValues;
  const values = Array.isArray(allowed) ? `: ${allowed.join(', ')}` : '';
  return `${error?.message ?? 'is not JSON Schema'}${values} (JSON Schema 2020-12)`;
}

/** RFC 6901. */
function pointerPath(pointer: string): string[] {
  const steps = pointer.split('/').slice(1);
  return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}
