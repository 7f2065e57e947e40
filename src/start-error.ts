/** What keeps a gateway from starting. */

/** The message says what to do. */
export class StartError extends Error {}

/** With the system's own code for it, as in `(EADDRINUSE)`. */
export function startError(message: string, cause: unknown): StartError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new StartError(`${message}${code}`, { cause });
}
