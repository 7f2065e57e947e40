/**
 * Where the library reads an answer without a look at its form, it throws where nobody can catch it, and that would end
 * the process. Here such an answer ends its connection, or fails its command, like any other that cannot be read.
 */
import { Command } from 'ioredis';
import dataHandler from 'ioredis/built/DataHandler.js';

/** What of the library's reader of answers is changed. */
interface Reader {
  dispatch(work: () => void): void;
  returnError(error: Error): void;
  returnFatalError(error: Error): void;
}

const slotsMax = 16_384;

/** For every client of this process; once is enough. */
export function endConnectionsThatTalkNonsense(): void {
  const reader = dataHandler.default.prototype as unknown as Reader;
  const { returnError } = reader;
  if (typeof reader.dispatch !== 'function' || typeof returnError !== 'function')
    throw new Error('ioredis reads answers elsewhere now');
  reader.dispatch = function dispatch(work) {
    try {
      work();
    } catch (error) {
      this.returnFatalError(error instanceof Error ? error : new Error(String(error)));
    }
  };
  reader.returnError = function returnErrorOf(error) {
    if (leadsNowhere(error.message)) error.message = 'ERR a redirection that leads nowhere';
    returnError.call(this, error);
  };
  Command.setReplyTransformer('info', requireText);
  Command.setReplyTransformer('cluster', requireClusterAnswer);
}

/** A cluster's word for another node: `MOVED 3999 127.0.0.1:6381`. */
function leadsNowhere(message: string): boolean {
  if (!/^(?:MOVED|ASK)\b/.test(message)) return false;
  const { slot, port } = /^[A-Z]+ (?<slot>\d{1,5}) \S*:(?<port>\d{1,5})$/.exec(message)?.groups ?? {};
  return slot === undefined || !isWithin(Number(slot), slotsMax - 1) || !isPort(Number(port));
}

function requireText(answer: unknown): unknown {
  if (typeof answer === 'string') return answer;
  throw new Error('The answer makes no sense.');
}

/** The state of a cluster, or who has which slots: from, to, and the nodes, each a host and a port. */
function requireClusterAnswer(answer: unknown): unknown {
  if (!Array.isArray(answer)) return requireText(answer);
  if (answer.length <= slotsMax && answer.every(isRange)) return answer;
  throw new Error('The answer makes no sense.');
}

function isRange(range: unknown): boolean {
  if (!Array.isArray(range)) return false;
  const [from, to, ...nodes] = range;
  return isWithin(from, slotsMax - 1) && isWithin(to, slotsMax - 1) && nodes.every(isNode);
}

function isNode(node: unknown): boolean {
  if (!Array.isArray(node)) return false;
  const [host, port] = node;
  return (host === null || typeof host === 'string') && isPort(port);
}

function isPort(value: unknown): boolean {
  return isWithin(value, 65_535);
}

function isWithin(value: unknown, max: number): boolean {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max;
}
