/** Content-Type (RFC 9110 §8.3), read strictly: what two parsers could read as two types is none. */
import type { IncomingMessage } from 'node:http';

export interface MediaType {
  /** `type/subtype` in lower case. */
  readonly essence: string;
  /** Names in lower case, values as sent. */
  readonly parameters: ReadonlyMap<string, string>;
}

const token = "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,127}";
const typeForm = new RegExp(`^(${token}/${token})[ \\t]*(;|$)`);
const parameterForm = new RegExp(
  `^[ \\t]*(${token})=(?:(${token})|"((?:[^"\\\\\\x00-\\x08\\x0a-\\x1f\\x7f]|\\\\[\\t\\x20-\\x7e])*)")[ \\t]*(;|$)`,
);
const charsMax = 512;

/** The type of a request's body; undefined where it is absent, malformed, or has a parameter twice. */
export function mediaTypeOf(request: IncomingMessage): MediaType | undefined {
  const given = request.headers['content-type'];
  return given === undefined || given.length > charsMax ? undefined : parseMediaType(given);
}

function parseMediaType(given: string): MediaType | undefined {
  const type = typeForm.exec(given);
  if (type === null) return undefined;
  const parameters = new Map<string, string>();
  let rest = given.slice(type[0].length);
  let more = type[2] === ';';
  while (more) {
    const parameter = parameterForm.exec(rest);
    const name = parameter?.[1]?.toLowerCase();
    if (parameter === null || name === undefined || parameters.has(name)) return undefined;
    parameters.set(name, parameter[2] ?? (parameter[3] ?? '').replace(/\\(.)/g, '$1'));
    rest = rest.slice(parameter[0].length);
    more = parameter[4] === ';';
  }
  return { essence: (type[1] ?? '').toLowerCase(), parameters };
}

/** Whether text of this type is UTF-8; JSON is without saying so (RFC 8259 §8.1). */
export function isUtf8({ parameters }: MediaType): boolean {
  const charset = parameters.get('charset');
  return charset === undefined || charset.toLowerCase() === 'utf-8';
}

/** RFC 2046 §5.1.1: what another parser might cut differently is no boundary. */
const boundaryForm = /^[A-Za-z0-9'()+_,./:=?-]{1,70}$/;

/** A multipart type is one with a boundary; others need none. */
export function hasItsBoundary({ essence, parameters }: MediaType): boolean {
  return !essence.startsWith('multipart/') || boundaryForm.test(parameters.get('boundary') ?? '');
}

/** `application/json`, or a type built on it such as `application/merge-patch+json`. */
export function isJsonType(essence: string): boolean {
  return /^application\/(?:[a-z0-9!#$&^_.+-]+\+)?json$/.test(essence);
}

/** @param allowed `type/subtype`, or `type/*` */
export function isAllowed(essence: string, allowed: readonly string[]): boolean {
  const family = `${essence.split('/', 1)[0]}/*`;
  return allowed.includes(essence) || allowed.includes(family);
}
