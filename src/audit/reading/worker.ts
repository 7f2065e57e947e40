/**
 * The thread that reads the log: what it costs to index and to search never holds up a request. It keeps the indexes
 * up to date by itself, a slice at a time, answers one question after the other, and says when it has nothing to do.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { auditIndexIntervalMs, auditIndexSliceMs } from '../../limits.ts';
import type { Filter } from './filter.ts';
import { IndexingError, LogFiles, type PageLimits, UnknownPlaceError } from './log-files.ts';
import type { Place } from './place.ts';

export type Question =
  | {
      readonly ask: 'page';
      readonly filter: Filter;
      readonly from: Place | undefined;
      readonly limits: PageLimits;
    }
  | {
      readonly ask: 'follow';
      readonly filter: Filter;
      readonly from: Place | undefined;
      readonly limits: PageLimits;
    }
  | { readonly ask: 'end' };

/** Said in place of an answer. */
export const isUpToDate = 'up to date';

export type Fault = 'unknown_place' | 'indexing' | 'failed';

const files = new LogFiles((workerData as { path: string }).path);

parentPort?.on('message', ({ id, question }: { id: number; question: Question }) => {
  try {
    parentPort?.postMessage({ id, result: answer(question) });
  } catch (error) {
    parentPort?.postMessage({ id, fault: faultOf(error), message: String(error) });
  }
});

function answer(question: Question): unknown {
  switch (question.ask) {
    case 'page':
      return files.page(question.filter, question.from, question.limits);
    case 'follow':
      return files.follow(question.filter, question.from, question.limits);
    case 'end':
      return files.end();
  }
}

function faultOf(error: unknown): Fault {
  if (error instanceof UnknownPlaceError) return 'unknown_place';
  return error instanceof IndexingError ? 'indexing' : 'failed';
}

/** The file system may say no; the next question is told why. */
function keepUp(): void {
  let done = true;
  try {
    done = files.extend(auditIndexSliceMs);
  } catch {
    // Tried again below.
  }
  if (done) parentPort?.postMessage(isUpToDate);
  setTimeout(keepUp, done ? auditIndexIntervalMs : 1).unref();
}

keepUp();
