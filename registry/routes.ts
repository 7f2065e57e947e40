/** Which endpoint answers which path and method. */
import {
  changeFields,
  createTool,
  type Endpoint,
  health,
  listTools,
  readTool,
  removeTool,
  replaceTool,
  searchTools,
} from './endpoints.ts';
import { Refusal } from './errors.ts';
import { openapiDocument } from './openapi.ts';

type Methods = Readonly<Partial<Record<string, Endpoint>>>;

const describeItself: Endpoint = async () => ({ status: 200, body: openapiDocument });

const paths: ReadonlyMap<string, Methods> = new Map<string, Methods>([
  ['/health', { GET: health }],
  ['/openapi.json', { GET: describeItself }],
  ['/tools', { GET: listTools, POST: createTool }],
  ['/tools/search', { GET: searchTools }],
]);

/** Answered without an assertion: whether it lives, and what it would take. */
export const openPaths: ReadonlySet<string> = new Set(['/health', '/openapi.json']);

const toolMethods: Methods = { GET: readTool, PUT: replaceTool, PATCH: changeFields, DELETE: removeTool };

/** The form of `crypto.randomUUID()`. Nothing else was ever given as an id, so nothing else is looked up. */
const toolId = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export interface Route {
  readonly endpoint: Endpoint;
  readonly id: string;
}

/**
 * @param path as sent, without the query; nothing in it is decoded, since no path of ours needs that
 * @throws Refusal `route_not_found`, `method_not_allowed` with Allow, `resource_not_found` for an id of
 *   another form
 */
export function findRoute(method: string, path: string): Route {
  const exact = paths.get(path);
  if (exact !== undefined) return { endpoint: endpointOf(exact, method), id: '' };
  const id = /^\/tools\/(?<id>[^/]+)$/.exec(path)?.groups?.id;
  if (id === undefined) throw new Refusal('route_not_found');
  const endpoint = endpointOf(toolMethods, method);
  if (!toolId.test(id)) throw new Refusal('resource_not_found');
  return { endpoint, id };
}

/** HEAD is GET; node:http leaves the body out. */
function endpointOf(methods: Methods, method: string): Endpoint {
  const name = method === 'HEAD' ? 'GET' : method;
  const endpoint = Object.hasOwn(methods, name) ? methods[name] : undefined;
  if (endpoint === undefined) throw new Refusal('method_not_allowed', { headers: { allow: allow(methods) } });
  return endpoint;
}

function allow(methods: Methods): string {
  return Object.keys(methods)
    .flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name]))
    .join(', ');
}
