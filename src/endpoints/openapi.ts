/** /openapi.json: OpenAPI 3.1 of the gateway's own endpoints, from the schemas that validate, and what the upstreams say. */
import { z } from 'zod';
import type { RouteTable } from '../http/route-table.ts';
import type { Endpoint } from './endpoint.ts';
import type { OpenApiDocument, UpstreamDocument } from './upstream-document.ts';

export interface OpenApiOptions {
  readonly version: string;
  readonly prefix: string;
  readonly endpoints: readonly Endpoint[];
  readonly upstreams: readonly UpstreamDocument[];
  readonly routes: RouteTable;
}

/** Anonymous, or either of the two credentials. */
const security = [{ bearer: [] }, { apiKey: [] }];

export function openapiEndpoint(options: OpenApiOptions): Endpoint {
  const own = ownPaths(options);
  return {
    method: 'GET',
    path: '/openapi.json',
    permission: 'none',
    rateClass: 'public',
    durable: false,
    summary: 'This description',
    answers: { 200: { description: 'An OpenAPI 3.1 document.' } },
    answer: async () => ({ status: 200, json: await describe(options, own) }),
  };
}

async function describe(options: OpenApiOptions, own: Paths): Promise<OpenApiDocument> {
  const described = await Promise.all(options.upstreams.map((upstream) => upstream.read()));
  const paths: Paths = {};
  const schemas: Record<string, unknown> = {};
  for (const document of described) {
    Object.assign(schemas, document.components?.schemas);
    Object.assign(paths, reachablePaths(document, options.routes));
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Portcullis', version: options.version },
    paths: { ...paths, ...own },
    components: { schemas, securitySchemes },
  };
}

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer', description: 'An API key, or an access token from /auth/login.' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
};

type Paths = Record<string, Record<string, unknown>>;

/** Of what an upstream describes, only what a route lets through. */
function reachablePaths(document: OpenApiDocument, routes: RouteTable): Paths {
  const paths: Paths = {};
  for (const [path, operations] of Object.entries(document.paths ?? {})) {
    const sample = path.replaceAll(/\{[^}]*\}/g, 'x');
    for (const [method, operation] of Object.entries(operations ?? {})) {
      const match = routes.find(method.toUpperCase(), sample);
      if (match?.route?.destination.kind !== 'upstream') continue;
      const secured = match.route.permission === 'none' ? [] : security;
      paths[path] = { ...paths[path], [method]: { ...(operation as object), security: secured } };
    }
  }
  return paths;
}

function ownPaths({ endpoints, prefix }: OpenApiOptions): Paths {
  const paths: Paths = {};
  for (const endpoint of endpoints.filter((candidate) => candidate.hidden !== true)) {
    const path = `${prefix === '/' ? '' : prefix}${endpoint.path}`;
    paths[path] = { ...paths[path], [endpoint.method.toLowerCase()]: operationOf(endpoint) };
  }
  return paths;
}

function operationOf(endpoint: Endpoint): Record<string, unknown> {
  return {
    summary: endpoint.summary,
    tags: [endpoint.path.split('/')[1] ?? ''],
    security: endpoint.permission === 'none' ? [] : security,
    parameters: [...pathParameters(endpoint), ...queryParameters(endpoint)],
    ...(endpoint.bodySchema !== undefined && { requestBody: requestBody(endpoint, endpoint.bodySchema) }),
    responses: Object.fromEntries(
      Object.entries(endpoint.answers).map(([status, { description, schema }]) => [
        status,
        {
          description,
          ...(schema && { content: { 'application/json': { schema: jsonSchema(schema, 'output') } } }),
        },
      ]),
    ),
  };
}

function pathParameters({ path }: Endpoint): object[] {
  return [...path.matchAll(/\{(?<name>[^}]*)\}/g)].map((match) => ({
    name: match.groups?.name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function queryParameters({ querySchema }: Endpoint): object[] {
  if (querySchema === undefined) return [];
  const { properties } = jsonSchema(querySchema, 'input') as { properties?: Record<string, unknown> };
  return Object.entries(properties ?? {}).map(([name, schema]) => ({
    name,
    in: 'query',
    required: false,
    schema,
  }));
}

function requestBody(endpoint: Endpoint, schema: z.ZodType): object {
  const types = endpoint.bodyTypes ?? ['application/json'];
  return {
    required: endpoint.bodyOptional !== true,
    content: Object.fromEntries(types.map((type) => [type, { schema: jsonSchema(schema, 'input') }])),
  };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
