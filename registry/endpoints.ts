/** What each endpoint does. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { readJson } from './body.ts';
import type { Catalogue, StoredTool, ToolList } from './catalogue.ts';
import { entityTag, ifMatch, isCached } from './conditional.ts';
import { Refusal } from './errors.ts';
import { isJsonObject, type Json, type JsonObject } from './json.ts';
import { changeAttemptsMax } from './limits.ts';
import { patchTool } from './merge-patch.ts';
import { listQuery, readQuery, searchQuery } from './queries.ts';
import { storedSubject } from './subject.ts';
import { readOnlyFields, type Tool, type ToolInput, toolInput } from './tool.ts';
import { validate } from './validate.ts';

/** A request as an endpoint sees it. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  /** `{id}` of the path; empty where the path has none. */
  readonly id: string;
  /** Who asks, decoded; empty for nobody known. */
  readonly subject: string;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
}

export type Endpoint = (catalogue: Catalogue, exchange: Exchange) => Promise<Answer>;

const jsonTypes = ['application/json'];
const patchTypes = ['application/merge-patch+json', 'application/json'];

export const health: Endpoint = async (catalogue) => {
  await catalogue.ping();
  return { status: 200, body: { status: 'ok' } };
};

export const listTools: Endpoint = async (catalogue, { query }) => {
  const { page, page_size: pageSize, tag } = readQuery(listQuery, query);
  return listAnswer(await catalogue.list({ page, pageSize, tags: tag }), page, pageSize);
};

export const searchTools: Endpoint = async (catalogue, { query }) => {
  const { q, page, page_size: pageSize, tag } = readQuery(searchQuery, query);
  return listAnswer(await catalogue.search(q, { page, pageSize, tags: tag }), page, pageSize);
};

function listAnswer({ items, total }: ToolList, page: number, pageSize: number): Answer {
  return { status: 200, body: { items, total, page, page_size: pageSize } };
}

export const readTool: Endpoint = async (catalogue, { request, id }) => {
  const stored = await catalogue.read(id);
  if (stored === undefined) throw new Refusal('resource_not_found');
  if (!isCached(request.headers['if-none-match'], stored.revision)) return toolAnswer(200, stored);
  return { status: 304, headers: versionHeaders(stored) };
};

export const createTool: Endpoint = async (catalogue, { request, subject }) => {
  const input = validate(toolInput, await readJson(request, jsonTypes));
  const stored = await catalogue.create(input, storedSubject(subject));
  return toolAnswer(201, stored, { location: `/tools/${stored.tool.id}` });
};

export const replaceTool: Endpoint = async (catalogue, { request, id }) => {
  const body = await readJson(request, jsonTypes);
  const next = (current: Tool) => validate(toolInput, withoutReadOnly(body, current));
  return toolAnswer(200, await changeTool(catalogue, id, request.headers, next));
};

export const changeFields: Endpoint = async (catalogue, { request, id }) => {
  const patch = await readJson(request, patchTypes);
  const next = (current: Tool) => {
    const patched = patchTool(current as unknown as JsonObject, patch);
    return validate(toolInput, withoutReadOnly(patched, current));
  };
  return toolAnswer(200, await changeTool(catalogue, id, request.headers, next));
};

export const removeTool: Endpoint = async (catalogue, { request, id }) => {
  const remove = async ({ revision }: StoredTool) => (await catalogue.remove(id, revision)) || undefined;
  await onCurrent(catalogue, id, request.headers, remove);
  return { status: 204 };
};

function changeTool(
  catalogue: Catalogue,
  id: string,
  headers: IncomingHttpHeaders,
  next: (current: Tool) => ToolInput,
): Promise<StoredTool> {
  const replace = ({ tool, revision }: StoredTool) => catalogue.replace(id, revision, next(tool));
  return onCurrent(catalogue, id, headers, replace);
}

/**
 * Makes a change on the revision that was read, and reads again when another change came first. With an
 * If-Match the second look ends in 412; without one the change is made on what is there now.
 * @param change undefined when the tool is no longer at that revision
 */
async function onCurrent<Result>(
  catalogue: Catalogue,
  id: string,
  headers: IncomingHttpHeaders,
  change: (current: StoredTool) => Promise<Result | undefined>,
): Promise<Result> {
  for (let attempt = 0; attempt < changeAttemptsMax; attempt += 1) {
    const current = await catalogue.read(id);
    if (current === undefined) throw new Refusal('resource_not_found');
    if (!ifMatch(headers['if-match'], current.revision)) throw new Refusal('precondition_failed');
    const result = await change(current);
    if (result !== undefined) return result;
  }
  throw new Refusal('store_unavailable', { detail: 'Too many changes of this tool at once; try again.' });
}

/**
 * A document that was read, changed and sent back holds what only the registry sets. Where that is unchanged
 * it is left out; where it is not, it stays and is refused like any field that cannot be written.
 */
function withoutReadOnly(document: Json, current: Tool): Json {
  if (!isJsonObject(document)) return document;
  const writable = { ...document };
  for (const field of readOnlyFields) {
    if (writable[field] === current[field]) delete writable[field];
  }
  return writable;
}

function toolAnswer(
  status: number,
  stored: StoredTool,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  return { status, headers: { ...versionHeaders(stored), ...headers }, body: stored.tool };
}

/** `no-cache`: may be kept, but is asked for again with If-None-Match before each use. */
function versionHeaders({ revision }: StoredTool): Record<string, string> {
  return { etag: entityTag(revision), 'cache-control': 'private, no-cache' };
}
