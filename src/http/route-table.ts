/**
 * Which route a request is for: a radix tree of patterns, of which the most specific for the path wins, whatever the
 * method. A method that it does not take is refused, not handed down to a wider pattern, whose permission may be
 * a lesser one.
 */
import { METHODS } from 'node:http';
import findMyWay from 'find-my-way';
import type { Route } from '../exchange.ts';

export interface RouteMatch {
  /** Absent when the path does not take the method. */
  readonly route: Route | undefined;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  /** What the path takes. */
  readonly methods: readonly string[];
  /** Whether one of its methods is public, so that all may know the path is there. */
  readonly anyPublic: boolean;
}

/** Longest value of a path parameter, in characters. */
const paramCharsMax = 256;

/** Methods a route without a list takes; CONNECT and TRACE are never routed. */
export const routableMethods = METHODS.filter((method) => method !== 'CONNECT' && method !== 'TRACE');

/** The one tree there is: methods are looked at once the path has been found. */
const treeName = 'GET';

/** What a path of this pattern takes. */
interface Pattern {
  readonly byMethod: Map<string, Route>;
  readonly methods: string[];
  anyPublic: boolean;
}

export class RouteTable {
  readonly #router = findMyWay({
    caseSensitive: true,
    ignoreTrailingSlash: false,
    ignoreDuplicateSlashes: false,
    allowUnsafeRegex: false,
    maxParamLength: paramCharsMax,
  });
  readonly #patterns = new Map<string, Pattern>();

  /**
   * @param pattern `/tools`, `/tools/*` or `/admin/users/:id`
   * @throws when the same pattern takes the method already
   */
  add(pattern: string, methods: readonly string[], route: Route): void {
    const opened = this.#patterns.get(pattern) ?? this.#open(pattern);
    for (const method of methods) {
      if (opened.byMethod.has(method)) throw new Error(`${method} ${pattern} is there already`);
      opened.byMethod.set(method, route);
      opened.methods.push(method);
      opened.anyPublic ||= route.permission === 'none';
    }
  }

  /** Keeps a pattern for ourselves: what nothing more specific takes is not found, whatever a wider route says. */
  reserve(pattern: string): void {
    if (!this.#patterns.has(pattern)) this.#open(pattern);
  }

  find(method: string, path: string): RouteMatch | undefined {
    const found = this.#router.find(treeName, withoutNeedlessEscapes(path));
    if (found === null) return undefined;
    const { byMethod, methods, anyPublic } = found.store as Pattern;
    return {
      route: byMethod.get(method),
      params: found.params as Record<string, string>,
      methods,
      anyPublic,
    };
  }

  #open(pattern: string): Pattern {
    const opened: Pattern = { byMethod: new Map(), methods: [], anyPublic: false };
    this.#patterns.set(pattern, opened);
    this.#router.on(treeName, pattern, unused, opened);
    return opened;
  }
}

/**
 * The router leaves `%40` alone where an upstream may read `@`: a route written with one of these characters must
 * not be passed by in its escaped spelling (CWE-177). For matching only; what is forwarded stays as it was sent.
 */
function withoutNeedlessEscapes(path: string): string {
  return path.includes('%') ? path.replace(/%(?:24|26|2[bc]|3[ad]|40)/gi, decodeURIComponent) : path;
}

/** The router wants a handler; the phases are ours, so what it finds is only data. */
function unused(): void {}
