/** A second program on the same database, in a thread of its own: opens the store, waits for the word, acts once. */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { systemClock } from '../../src/clock.ts';
import { configSchema } from '../../src/config/schema.ts';
import { Refusal } from '../../src/errors.ts';
import { type Identity, openIdentity } from '../../src/identity/store.ts';

interface Task {
  readonly file: string;
  readonly action: 'setup' | 'refresh' | 'disable';
  /** A refresh token, or a user's id. */
  readonly text?: string;
}

/** Runs the tasks at the same moment, one thread each; `ok`, `nothing`, or the refusal's reason or code. */
export async function atOnce(tasks: readonly Task[]): Promise<string[]> {
  const workers = tasks.map((task) => new Worker(new URL(import.meta.url), { workerData: task }));
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  const answers = workers.map((worker) => once(worker, 'message'));
  for (const worker of workers) worker.postMessage('go');
  const results = await Promise.all(answers);
  await Promise.all(workers.map((worker) => worker.terminate()));
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

if (!isMainThread && parentPort !== null) {
  const task: Task = workerData;
  const identity = await openIdentity({
    config: {
      database: `sqlite:${task.file}`,
      auth: configSchema.shape.auth.parse({ passwords: { memory: '1MiB', iterations: 1 } }),
    },
    clock: systemClock,
    onError: () => {},
  });
  parentPort.postMessage('ready');
  await once(parentPort, 'message');
  parentPort.postMessage(await act(identity, task));
  await identity.close();
}
