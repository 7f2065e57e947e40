/** Stands between a program and a real PostgreSQL, and loses the answer to a COMMIT that has been carried out. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { join } from 'node:path';

interface Test {
  teardown(callback: () => unknown): void;
}

export interface PostgresProxy {
  /** The same database, past this proxy. */
  readonly url: string;
  /**
   * The next connection whose COMMIT the server has carried out is cut instead of being told so.
   * @param after whether others can connect from then on
   */
  loseCommit(after: 'goes on' | 'is away'): void;
  /** From now on nothing passes over the connections that are open, and nothing says so; new ones are made as ever. */
  halfOpen(): void;
  /** Everything passes again. */
  mend(): void;
  /** How many answers were lost. */
  readonly lost: number;
}

/** @param url of a server on a Unix socket */
export async function startPostgresProxy(t: Test, url: string): Promise<PostgresProxy> {
  const [, folder = '', port = '', rest = ''] = /@([^:]+):(\d+)\/(.*)$/.exec(url) ?? [];
  const socket = `.s.PGSQL.${port}`;
  const target = join(decodeURIComponent(folder), socket);
  const own = mkdtempSync('/tmp/portcullis-proxy-');
  const open = new Set<Socket>();
  const state = { isLosing: false, goesAway: false, isAway: false, lost: 0 };

  const silent = new Set<Socket>();

  const server = createServer((client) => {
    if (state.isAway) return client.destroy();
    const upstream = createConnection(target);
    let isCommitting = false;
    const cut = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const end of [client, upstream]) {
      open.add(end);
      end.on('error', cut);
      end.on('close', () => {
        open.delete(end);
        cut();
      });
    }
    client.on('data', (data) => {
      if (silent.has(client)) return;
      if (state.isLosing && data.toString('latin1').includes('commit\0')) isCommitting = true;
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (silent.has(upstream)) return undefined;
      if (!isCommitting) return client.write(data);
      state.lost += 1;
      state.isLosing = false;
      state.isAway = state.goesAway;
      return cut();
    });
    return undefined;
  });
  server.listen(join(own, socket));
  await once(server, 'listening');
  t.teardown(() => {
    for (const end of open) end.destroy();
    server.close();
    rmSync(own, { recursive: true, force: true });
  });
  return {
    url: url.replace(`@${folder}:${port}/${rest}`, `@${encodeURIComponent(own)}:${port}/${rest}`),
    loseCommit: (after) => Object.assign(state, { isLosing: true, goesAway: after === 'is away' }),
    halfOpen: () => {
      for (const end of open) silent.add(end);
    },
    mend: () => Object.assign(state, { isLosing: false, goesAway: false, isAway: false }),
    get lost() {
      return state.lost;
    },
  };
}
