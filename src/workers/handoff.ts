/**
 * Connections on their way to a worker. node:cluster keeps one that it has handed to a worker until that one has said
 * that it has it; of a worker that is killed before, it would keep it for ever, and the client would wait.
 */
import type { Worker } from 'node:cluster';

/** node:cluster's own message with a connection, and a worker's answer to it; there is no public word for either. */
interface OwnMessage {
  readonly act?: unknown;
  readonly seq?: unknown;
  readonly ack?: unknown;
}

interface Handle {
  close(): void;
}

/** @returns closes what the worker has not taken, so that the client notices; called at its end */
export function watchHandoff(worker: Worker): () => void {
  const underWay = new Map<unknown, Handle>();
  const child = worker.process;
  const send = child.send.bind(child) as (...given: unknown[]) => boolean;
  child.send = ((message: OwnMessage, handle: Handle | undefined, ...rest: unknown[]) => {
    if (message.act === 'newconn' && handle !== undefined) underWay.set(message.seq, handle);
    return send(message, handle, ...rest);
  }) as typeof child.send;
  child.on('internalMessage', ({ ack }: OwnMessage) => underWay.delete(ack));
  return () => {
    for (const handle of underWay.values()) handle.close();
    underWay.clear();
  };
}
