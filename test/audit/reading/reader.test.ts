/** When there is a thread that reads the log, and when there is none. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { LogReader } from '../../../src/audit/reading/reader.ts';
import { numbersOf, writeLog } from './log-lines.ts';

const hourMs = 3_600_000;
const limits = { lines: 3, bytes: 1024 ** 2, budgetMs: 10_000 };

/** A reader of a log of ten records, and every thread that it starts. */
function begin(t: Test, times: { idleMs: number; lookMs: number }) {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 10);
  const threads: Worker[] = [];
  const note = (thread: Worker) => threads.push(thread);
  process.on('worker', note);
  const reader = new LogReader(path, times);
  t.teardown(async () => {
    process.off('worker', note);
    await reader.close();
  });
  return { path, reader, threads };
}

t.test('no thread is there before the first question', async (t) => {
  const { reader, threads } = begin(t, { idleMs: hourMs, lookMs: hourMs });
  reader.start();
  await sleep(50);
  t.equal(threads.length, 0);
  t.strictSame(numbersOf((await reader.page({}, undefined, limits)).found), [9, 8, 7]);
  await reader.page({}, undefined, limits);
  t.equal(threads.length, 1);
});

t.test('the thread ends when nobody asks, and another one answers the next question', async (t) => {
  const { reader, threads } = begin(t, { idleMs: 0, lookMs: hourMs });
  await reader.page({}, undefined, limits);
  if (threads[0] !== undefined && threads[0].threadId !== -1) await once(threads[0], 'exit');
  t.strictSame(numbersOf((await reader.page({}, undefined, limits)).found), [9, 8, 7]);
  t.equal(threads.length, 2);
});

t.test('the index is brought up to date although nobody asks', async (t) => {
  const { path, reader, threads } = begin(t, { idleMs: 0, lookMs: 50 });
  reader.start();
  for (let tries = 0; tries < 500 && threads.length < 3; tries += 1) await sleep(20);
  t.ok(threads.length >= 3, 'a thread is started again and again');
  t.ok(existsSync(`${path}.index`));
});
