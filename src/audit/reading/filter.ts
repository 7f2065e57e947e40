/** Which records somebody asks for, and whether a line is one of them. */

/** All that is given must hold; times are milliseconds since the epoch. */
export interface Filter {
  readonly principal?: string | undefined;
  readonly path?: string | undefined;
  /** From and to, both included: 404 to 404, or 400 to 499. */
  readonly status?: readonly [from: number, to: number] | undefined;
  readonly decision?: string | undefined;
  readonly code?: string | undefined;
  readonly fromMs?: number | undefined;
  /** Not included. */
  readonly toMs?: number | undefined;
}

/** What of a record can be asked for. */
export interface Facts {
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly principal: string | undefined;
  readonly path: string | undefined;
  /** 0 where there is none yet. */
  readonly status: number;
  readonly decision: string | undefined;
  readonly code: string | undefined;
}

/** `undefined` for a line that is no record: one that a crash tore, or that somebody else wrote. */
export function factsOf(line: string): Facts | undefined {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return undefined;
  const { timestamp, principal, path, status_code, decision, code } = record as Record<string, unknown>;
  if (typeof timestamp !== 'number' || !(timestamp >= 0 && timestamp < 1e11)) return undefined;
  return {
    timeMs: Math.floor(timestamp * 1000),
    principal: textOf(principal),
    path: textOf(path),
    status: typeof status_code === 'number' && status_code >= 0 && status_code < 1_000 ? status_code : 0,
    decision: textOf(decision),
    code: textOf(code),
  };
}

export function matches(filter: Filter, facts: Facts): boolean {
  const { principal, path, status, decision, code, fromMs = 0, toMs = Number.POSITIVE_INFINITY } = filter;
  return (
    (principal === undefined || facts.principal === principal) &&
    (path === undefined || facts.path === path) &&
    (status === undefined || (facts.status >= status[0] && facts.status <= status[1])) &&
    (decision === undefined || facts.decision === decision) &&
    (code === undefined || facts.code === code) &&
    facts.timeMs >= fromMs &&
    facts.timeMs < toMs
  );
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
