/** Describes the endpoints as OpenAPI 3.1, from the same zod schemas that check what arrives. */
import { z } from 'zod';
import { type ErrorCode, errorKinds } from './errors.ts';
import { listQuery, searchQuery } from './queries.ts';
import { readOnlyFields, tool, toolInput } from './tool.ts';

type Schema = Record<string, unknown>;

const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** JSON Schema 2020-12 of a zod schema, as OpenAPI 3.1 takes it. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): Schema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    target: 'draft-2020-12',
    io,
    unrepresentable: 'any',
  });
  return rest;
}

function properties(schema: Schema): Record<string, Schema> {
  return schema.properties as Record<string, Schema>;
}

function toolSchema(): Schema {
  const schema = jsonSchema(tool, 'output');
  for (const field of readOnlyFields) Object.assign(properties(schema)[field] ?? {}, { readOnly: true });
  return schema;
}

/** Every field may be left out; those that may be absent from a tool may be removed with null. */
function patchSchema(): Schema {
  const { required, ...schema } = jsonSchema(toolInput, 'input');
  const kept = new Set(required as string[]);
  const fields = Object.entries(properties(schema)).map(([name, { default: _, ...field }]) => [
    name,
    kept.has(name) ? field : { anyOf: [field, { type: 'null' }] },
  ]);
  return { ...schema, properties: Object.fromEntries(fields) };
}

const listSchema: Schema = {
  type: 'object',
  required: ['items', 'total', 'page', 'page_size'],
  properties: {
    items: { type: 'array', items: reference('Tool') },
    total: { type: 'integer', minimum: 0, description: 'Tools on all pages.' },
    page: { type: 'integer', minimum: 1 },
    page_size: { type: 'integer', minimum: 1 },
  },
};

const problemSchema: Schema = {
  type: 'object',
  description: 'Problem details, RFC 9457.',
  required: ['type', 'title', 'status', 'detail', 'code', 'request_id'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { enum: Object.keys(errorKinds) },
    request_id: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['field', 'message'],
        properties: { field: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
};

/** The query as it is sent: zod describes what comes out of it, so `q` is written as the text that goes in. */
function queryParameters(query: typeof listQuery | typeof searchQuery): Schema[] {
  const fields = properties(jsonSchema(query, 'output'));
  return Object.entries(fields).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: name === 'q',
    description,
    schema: name === 'q' ? { type: 'string', minLength: 1 } : schema,
  }));
}

const idParameter = { name: 'id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } };

const header = (name: string, description: string) => ({
  name,
  in: 'header',
  required: false,
  description,
  schema: { type: 'string' },
});
const ifMatchParameter = header('If-Match', 'The ETag that the change is meant for; otherwise 412.');
const ifNoneMatchParameter = header('If-None-Match', 'The ETag the caller has; if it is current, 304.');

const etag = { ETag: { description: 'The version of the tool.', schema: { type: 'string' } } };
const location = { Location: { description: 'The path of the new tool.', schema: { type: 'string' } } };

const json = (schema: Schema) => ({ 'application/json': { schema } });
const toolContent = json(reference('Tool'));

function problems(...codes: ErrorCode[]): Schema {
  const answers = [...codes, 'internal_error' as const, 'store_unavailable' as const].map((code) => [
    errorKinds[code].status,
    {
      description: errorKinds[code].detail,
      content: { 'application/problem+json': { schema: reference('Problem') } },
    },
  ]);
  return Object.fromEntries(answers);
}

const bodyProblems = [
  'malformed_body',
  'body_too_large',
  'unsupported_media_type',
  'validation_failed',
] as const satisfies ErrorCode[];

const requestBody = (schema: string, ...mediaTypes: string[]) => ({
  required: true,
  content: Object.fromEntries(mediaTypes.map((mediaType) => [mediaType, { schema: reference(schema) }])),
});

const health = {
  get: {
    operationId: 'readHealth',
    summary: 'Whether the registry and its database answer',
    responses: {
      200: {
        description: 'They do.',
        content: json({ type: 'object', required: ['status'], properties: { status: { const: 'ok' } } }),
      },
      ...problems(),
    },
  },
};

const collection = {
  get: {
    operationId: 'listTools',
    summary: 'List tools, in the order of their registration',
    parameters: queryParameters(listQuery),
    responses: {
      200: { description: 'One page.', content: json(reference('ToolList')) },
      ...problems('validation_failed'),
    },
  },
  post: {
    operationId: 'createTool',
    summary: 'Register a tool',
    requestBody: requestBody('ToolInput', 'application/json'),
    responses: {
      201: { description: 'Registered.', headers: { ...etag, ...location }, content: toolContent },
      ...problems(...bodyProblems, 'conflict'),
    },
  },
};

const search = {
  get: {
    operationId: 'searchTools',
    summary: 'Search names, titles, tags and descriptions, best match first',
    parameters: queryParameters(searchQuery),
    responses: {
      200: { description: 'One page.', content: json(reference('ToolList')) },
      ...problems('validation_failed'),
    },
  },
};

const changed = { 200: { description: 'The tool as it is now.', headers: etag, content: toolContent } };

const item = {
  parameters: [idParameter],
  get: {
    operationId: 'readTool',
    summary: 'Read a tool',
    parameters: [ifNoneMatchParameter],
    responses: {
      200: { description: 'The tool.', headers: etag, content: toolContent },
      304: { description: 'The caller has it.', headers: etag },
      ...problems('resource_not_found'),
    },
  },
  put: {
    operationId: 'replaceTool',
    summary: 'Replace a tool whole',
    parameters: [ifMatchParameter],
    requestBody: requestBody('ToolInput', 'application/json'),
    responses: {
      ...changed,
      ...problems(...bodyProblems, 'resource_not_found', 'conflict', 'precondition_failed'),
    },
  },
  patch: {
    operationId: 'changeTool',
    summary: 'Change fields of a tool (JSON Merge Patch; schemas are replaced whole)',
    parameters: [ifMatchParameter],
    requestBody: requestBody('ToolPatch', 'application/merge-patch+json', 'application/json'),
    responses: {
      ...changed,
      ...problems(...bodyProblems, 'resource_not_found', 'conflict', 'precondition_failed'),
    },
  },
  delete: {
    operationId: 'deleteTool',
    summary: 'Remove a tool',
    parameters: [ifMatchParameter],
    responses: {
      204: { description: 'Removed.' },
      ...problems('resource_not_found', 'precondition_failed'),
    },
  },
};

/** The whole document; plain JSON. */
export const openapiDocument = {
  openapi: '3.1.1',
  info: { title: 'Tool registry', version: '1', description: 'A catalogue of MCP tools.' },
  paths: { '/health': health, '/tools': collection, '/tools/search': search, '/tools/{id}': item },
  components: {
    schemas: {
      Tool: toolSchema(),
      ToolInput: jsonSchema(toolInput, 'input'),
      ToolPatch: patchSchema(),
      ToolList: listSchema,
      Problem: problemSchema,
    },
  },
};
