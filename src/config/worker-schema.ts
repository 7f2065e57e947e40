/** `workers`: how many processes serve, and what cannot be shared between them. */
import { workersMax } from '../limits.ts';
import type { Draft } from './checks.ts';
import type { Report } from './report.ts';
import { integer } from './units.ts';

/** 1 is one process that does everything; with more, a primary starts them and serves nobody itself. */
export const workers = integer(1, workersMax).default(1);

export function checkWorkers({ workers, database, audit, listen }: Draft, report: Report): void {
  if (workers === undefined || workers === 1) return;
  if (database !== undefined && /^sqlite:(?:\/\/)?\/?:memory:$/.test(database)) {
    const hint = 'Write a file such as sqlite:./data/portcullis.db, or workers: 1.';
    report.value(['database'], 'is in the memory of one process, and workers are several', hint);
  }
  for (const [index, sink] of (audit?.sinks ?? []).entries()) {
    if (!('spill' in sink) || sink.spill === undefined) continue;
    const path = ['audit', 'sinks', index, 'spill'];
    report.value(
      path,
      'is the folder of one process, and workers are several',
      'Remove it, or write workers: 1.',
    );
  }
  const { connections = workers, connections_per_address = workers } = listen?.limits ?? {};
  for (const [key, bound] of Object.entries({ connections, connections_per_address })) {
    if (bound >= workers) continue;
    const hint = `Write at least ${workers}, or fewer workers.`;
    report.value(['listen', 'limits', key], 'is less than workers, each of which takes a part of it', hint);
  }
}
