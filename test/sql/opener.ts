/** Opens both programs' databases in many processes at the same moment. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Catalogue } from '../../registry/catalogue.ts';
import { systemClock } from '../../src/clock.ts';
import { openIdentity } from '../../src/identity/store.ts';
import { authOf } from '../identity/fixture.ts';

const thisFile = fileURLToPath(import.meta.url);

/** What each of `count` processes says: `ok`, or why not. */
export async function openAtOnce(count: number, url: string): Promise<string[]> {
  const programs = Array.from({ length: count }, () => fork(thisFile, [url]));
  await Promise.all(programs.map((program) => once(program, 'message')));
  const answers = programs.map((program) => once(program, 'message'));
  const exits = programs.map((program) => once(program, 'exit'));
  for (const program of programs) program.send('go');
  const said = await Promise.all(answers);
  await Promise.all(exits);
  return said.map(([answer]) => String(answer));
}

async function openBoth(url: string): Promise<string> {
  const onError = () => undefined;
  try {
    const config = { database: url, auth: authOf(url) };
    const identity = await openIdentity({ config, clock: systemClock, onError });
    const catalogue = await Catalogue.open({ url, wallMs: Date.now, onError });
    await catalogue.ping();
    const isEmpty = await identity.isEmpty();
    await identity.close();
    await catalogue.close();
    return isEmpty ? 'ok' : 'not empty';
  } catch (error) {
    return error instanceof Error ? `${error.stack} ${String(error.cause)}` : String(error);
  }
}

if (process.argv[1] === thisFile) {
  process.send?.('ready');
  await once(process, 'message');
  process.send?.(await openBoth(process.argv[2] ?? ''));
  process.disconnect?.();
}
