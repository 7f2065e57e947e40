/** JSON values as data: what they are, how deep they go, and what cannot be given back as it came. */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

export type Path = ReadonlyArray<string | number>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** One value inside another, with the way to it. */
export interface Node {
  readonly value: Json;
  readonly path: Path;
}

/**
 * Every value inside `root`, itself first. Nothing below `depthMax` levels is entered. Written without
 * recursion: a body of a few kilobytes can nest deeper than the stack.
 */
export function* nodesOf(root: Json, depthMax: number): Generator<Node> {
  const waiting: Node[] = [{ value: root, path: [] }];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    yield node;
    if (node.path.length >= depthMax) continue;
    for (const [key, value] of childrenOf(node.value)) waiting.push({ value, path: [...node.path, key] });
  }
}

function childrenOf(value: Json): Iterable<[string | number, Json]> {
  if (Array.isArray(value)) return value.entries();
  return isJsonObject(value) ? Object.entries(value) : [];
}

/** Whether objects and arrays lie inside one another more than `depthMax` times. */
export function isDeeperThan(root: Json, depthMax: number): boolean {
  for (const { value, path } of nodesOf(root, depthMax)) {
    if (path.length === depthMax && typeof value === 'object' && value !== null) return true;
  }
  return false;
}
