/** JSON Merge Patch, RFC 7396, and the one way in which a tool's patch differs from it. */
import { isJsonObject, type Json, type JsonObject } from './json.ts';

/** RFC 7396 §2, MergePatch. Neither argument is changed. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  // A Map, so that a member named `__proto__` is a member like any other.
  const merged = new Map<string, Json>(isJsonObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) merged.delete(name);
    else merged.set(name, mergePatch(merged.get(name), value));
  }
  return Object.fromEntries(merged);
}

const replacedWhole = ['inputSchema', 'outputSchema'] as const;

/**
 * A tool's document after a merge patch. The schemas are replaced whole: in a schema `null` is a value (of
 * `const`, `default`, `enum`), and half of one schema merged into another is neither.
 */
export function patchTool(tool: JsonObject, patch: Json): Json {
  const merged = mergePatch(tool, patch);
  if (!isJsonObject(patch) || !isJsonObject(merged)) return merged;
  for (const field of replacedWhole) {
    const replacement = patch[field];
    if (replacement !== undefined && replacement !== null) merged[field] = replacement;
  }
  return merged;
}
