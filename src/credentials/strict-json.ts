/** JSON that can be read in one way only: no member named twice, no depth that overflows whoever walks it later. */

/** Not such JSON; says nothing of the content, which may be a credential's. */
export class StrictJsonError extends Error {}

/**
 * @param depthMax how deep objects and arrays may nest
 * @throws StrictJsonError
 */
export function parseStrictJson(text: string, depthMax: number): unknown {
  let value: unknown;
  try {
    // V8 parses without recursion, so depth is no danger here, only afterwards.
    value = JSON.parse(text);
  } catch {
    throw new StrictJsonError('not JSON');
  }
  checkStructure(text, depthMax);
  return value;
}

/** Walks JSON already known to be well-formed. `JSON.parse` keeps the last of two alike names; others the first. */
function checkStructure(text: string, depthMax: number): void {
  const open: (Set<string> | undefined)[] = []; // the names of each open object; undefined for an array
  let nameNext = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') {
      const end = stringEnd(text, at);
      if (nameNext) addName(open.at(-1), text.slice(at, end + 1));
      nameNext = false;
      at = end;
    } else if (char === '{' || char === '[') {
      if (open.push(char === '{' ? new Set() : undefined) > depthMax) throw new StrictJsonError('too deep');
      nameNext = char === '{';
    } else if (char === '}' || char === ']') {
      open.pop();
    } else if (char === ',') {
      nameNext = open.at(-1) !== undefined;
    }
  }
}

/** Compared unescaped: `"s\u0075b"` is `"sub"`. */
function addName(names: Set<string> | undefined, quoted: string): void {
  const name = String(JSON.parse(quoted));
  if (names?.has(name)) throw new StrictJsonError('a member is named twice');
  names?.add(name);
}

/** Where the string that starts at `start` has its closing quote. */
function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}
