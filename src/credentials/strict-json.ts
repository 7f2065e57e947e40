/** JSON that can be read in one way only: no member named twice, no depth that overflows whoever walks it later. */

import { JsonFault, scanJson } from '../inspection/json-scan.ts';

/** Not such JSON; says nothing of the content, which may be a credential's. */
export class StrictJsonError extends Error {}

/**
 * @param depthMax how deep objects and arrays may nest
 * @throws StrictJsonError
 */
export function parseStrictJson(text: string, depthMax: number): unknown {
  try {
    scanJson(text, { depth: depthMax, keys: text.length, elements: text.length, stringChars: text.length });
    return JSON.parse(text);
  } catch (error) {
    // The fault's own message names members, and those are the credential's.
    throw new StrictJsonError((error instanceof JsonFault && said[error.kind]) || 'not JSON');
  }
}

const said: Partial<Record<JsonFault['kind'], string>> = {
  depth: 'too deep',
  duplicate: 'a member is named twice',
};
