/** Notices that files may have changed. Whether they did is for the reader to find out. */
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { filePollMs, fileSettleMs } from '../limits.ts';

export interface FileWatch {
  close(): void;
}

/**
 * Calls `onMaybeChanged` soon after something happens in the directories of the files, and from time to time in any
 * case: not every file system tells, and a directory that was itself replaced no longer does.
 *
 * The directory is watched, not the file: a mounted Secret or ConfigMap changes by the swap of its `..data` link,
 * which a watch on the file does not see.
 */
export function watchFiles(files: readonly string[], onMaybeChanged: () => void): FileWatch {
  let settling: NodeJS.Timeout | undefined;
  const look = () => {
    settling = undefined;
    onMaybeChanged();
  };
  // The first event starts the wait and later ones do not prolong it: a busy directory must not starve the reader.
  const soon = () => {
    settling ??= setTimeout(look, fileSettleMs).unref();
  };
  const watchers = [...new Set(files.map(dirname))].map((directory) =>
    watchDirectory(directory, files, soon),
  );
  const poll = setInterval(onMaybeChanged, filePollMs).unref();
  return {
    close: () => {
      clearInterval(poll);
      clearTimeout(settling);
      for (const watcher of watchers) watcher?.close();
    },
  };
}

/** Without a watch (a limit of the system, a directory that is gone) the poll has to do. */
function watchDirectory(
  directory: string,
  files: readonly string[],
  onEvent: () => void,
): FSWatcher | undefined {
  const names = new Set(files.filter((file) => dirname(file) === directory).map((file) => basename(file)));
  try {
    const watcher = watch(directory, { persistent: false }, (_event, name) => {
      if (name === null || name.startsWith('..') || names.has(name)) onEvent();
    });
    return watcher.on('error', () => watcher.close());
  } catch {
    return undefined;
  }
}
