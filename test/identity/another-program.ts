/** A second program on the same database: opens the store, waits for the word, acts once. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/clock.ts';
import { Refusal } from '../../src/errors.ts';
import { type Identity, openIdentity } from '../../src/identity/store.ts';
import { authOf } from './fixture.ts';

interface Task {
  /** The database's URL. */
  readonly database: string;
  readonly action: 'setup' | 'refresh' | 'disable';
  /** A refresh token, or a user's id. */
  readonly text?: string;
}

/** Runs the tasks at the same moment, a process each; `ok`, `nothing`, or the refusal's reason or code. */
export async function atOnce(tasks: readonly Task[]): Promise<string[]> {
  const file = fileURLToPath(import.meta.url);
  const programs = tasks.map((task) => fork(file, [JSON.stringify(task)]));
  await Promise.all(programs.map((program) => once(program, 'message')));
  const answers = programs.map((program) => once(program, 'message'));
  const exits = programs.map((program) => once(program, 'exit'));
  for (const program of programs) program.send('go');
  const results = await Promise.all(answers);
  await Promise.all(exits);
  return results.map(([result]) => String(result));
}

async function act(identity: Identity, { action, text = '' }: Task): Promise<string> {
  try {
    if (action === 'setup') return (await identity.setup()) === undefined ? 'nothing' : 'ok';
    if (action === 'refresh') await identity.grants.refresh(text);
    else await identity.users.toggle(text, false);
    return 'ok';
  } catch (error) {
    if (error instanceof Refusal) return error.reason ?? error.code;
    throw error;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const task: Task = JSON.parse(process.argv[2] ?? '');
  const identity = await openIdentity({
    config: { database: task.database, auth: authOf(task.database) },
    clock: systemClock,
    onError: () => {},
  });
  process.send?.('ready');
  await once(process, 'message');
  process.send?.(await act(identity, task));
  await identity.close();
  process.disconnect?.();
}
