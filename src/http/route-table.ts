/** Which route a request is for: a radix tree per method; the most specific pattern wins. */
import { METHODS } from 'node:http';
import findMyWay from 'find-my-way';
import type { Route } from '../exchange.ts';

export interface RouteMatch {
  readonly route: Route;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
}

/** Longest value of a path parameter, in characters. */
const paramCharsMax = 256;

/** Methods the router keeps a tree for; CONNECT and TRACE are never routed. */
export const routableMethods = METHODS.filter(
  (method) => method !== 'CONNECT' && method !== 'TRACE',
) as findMyWay.HTTPMethod[];

export class RouteTable {
  readonly #router = findMyWay({
    caseSensitive: true,
    ignoreTrailingSlash: false,
    ignoreDuplicateSlashes: false,
    allowUnsafeRegex: false,
    maxParamLength: paramCharsMax,
  });

  /**
   * @param pattern `/tools`, `/tools/*` or `/admin/users/:id`
   * @throws when the same pattern and method are there already
   */
  add(pattern: string, methods: readonly string[], route: Route): void {
    this.#router.on(methods as findMyWay.HTTPMethod[], pattern, unused, route);
  }

  find(method: string, path: string): RouteMatch | undefined {
    const found = this.#router.find(method as findMyWay.HTTPMethod, withoutNeedlessEscapes(path));
    return found === null
      ? undefined
      : { route: found.store as Route, params: found.params as Record<string, string> };
  }

  /** The methods this path takes, and whether one of them is public. Slow; for refusals only. */
  methodsOf(path: string): { methods: string[]; anyPublic: boolean } {
    const matches = routableMethods.flatMap((method) => {
      const match = this.find(method, path);
      return match === undefined ? [] : [{ method, match }];
    });
    return {
      methods: matches.map(({ method }) => method),
      anyPublic: matches.some(({ match }) => match.route.permission === 'none'),
    };
  }
}

/**
 * The router leaves `%40` alone where an upstream may read `@`: a route written with one of these characters must
 * not be passed by in its escaped spelling (CWE-177). For matching only; what is forwarded stays as it was sent.
 */
function withoutNeedlessEscapes(path: string): string {
  return path.includes('%') ? path.replace(/%(?:24|26|2[bc]|3[abd]|40)/gi, decodeURIComponent) : path;
}

/** The router wants a handler; the phases are ours, so what it finds is only data. */
function unused(): void {}
