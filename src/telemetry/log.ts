/** The program's own life as JSON on standard error. Standard output is for people, and for the audit log. */
import pino, { type Logger } from 'pino';

export type { Logger };

/** @param level the least severe one written */
export function openLog(level: string): Logger {
  return pino(
    {
      level,
      base: { name: 'gateway' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    // Synchronous: what a dying process said last is what its operator needs.
    pino.destination({ fd: 2, sync: true }),
  );
}
