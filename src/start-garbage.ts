/** What a start leaves behind: what modules and the configuration were made from, and room for as much again. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (how: { type: 'major'; execution: 'sync'; flavor: 'last-resort' }) => void;

/**
 * Gives it back to the system, some 30 MiB, in about a tenth of a second in which nothing else runs: to be called before
 * anything is served. By itself V8 keeps the room, however long nothing happens.
 */
export function collectStartGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as Collect;
  setFlagsFromString('--no-expose-gc');
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
