/** What went wrong with Redis, without what was sent: the library's errors carry their commands, passwords included. */

export class RedisFault extends Error {
  /** The reply's first word, such as `READONLY` or `NOSCRIPT`; empty when there was no reply. */
  readonly reply: string;

  constructor(message: string, reply = '') {
    super(message);
    this.name = 'RedisFault';
    this.reply = reply;
  }
}

/** Only the message is taken over: `command`, `previousErrors` and the like stay behind. */
export function redisFault(error: unknown): RedisFault {
  if (error instanceof RedisFault) return error;
  if (error instanceof AggregateError && error.errors.length > 0) return redisFault(error.errors[0]);
  const message = error instanceof Error ? error.message : String(error);
  const line = message.split('\n', 1)[0]?.slice(0, messageCharsMax) ?? '';
  const isReply = error instanceof Error && error.name === 'ReplyError';
  const reply = isReply ? (/^[A-Z]+\b/.exec(line)?.[0] ?? 'ERR') : '';
  return new RedisFault(isClosed(line) ? 'not connected' : line || nameOf(error), reply);
}

const messageCharsMax = 300;

/** The library's words for a command that was not, or may not have been, sent. */
function isClosed(message: string): boolean {
  return /Connection is closed|isn't writeable|isn't ready|Reached the max retries/.test(message);
}

/** A refused connection to a name with several addresses has an empty message. */
function nameOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
}
