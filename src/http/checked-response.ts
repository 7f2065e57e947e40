/** node:http's response, with a way to say header lines that need no check because they were made here. */
import { type IncomingMessage, ServerResponse } from 'node:http';

/** What `writeHead` builds the head with: not documented, and proved by a test against `writeHead` itself. */
interface HeadBuilder {
  _storeHeader(this: ServerResponse, statusLine: string, headers: readonly string[]): void;
}

const { _storeHeader: storeHeader } = ServerResponse.prototype as unknown as HeadBuilder;

export class CheckedResponse extends ServerResponse<IncomingMessage> {
  #lines = '';

  /**
   * As `writeHead`, which looks at every character of every header, and reads from them how the answer is framed.
   * @param lines whole header lines, each with its CRLF; none that frames the body or speaks of the connection
   * @param headers name and value in turn
   */
  writeCheckedHead(status: number, lines: string, headers: readonly string[]): void {
    this.#lines = lines;
    try {
      this.writeHead(status, headers as string[]);
      if (this.#lines !== '')
        throw new Error('node:http builds its heads in another way than this class knows');
    } finally {
      // Where it has thrown, another head is to come.
      this.#lines = '';
    }
  }

  /** Called by `writeHead`. */
  protected _storeHeader(statusLine: string, headers: readonly string[]): void {
    const lines = this.#lines;
    this.#lines = '';
    storeHeader.call(this, statusLine + lines, headers);
  }
}

/** Header lines of a flat name-value list, of which every name and value is known to be safe: nothing looks again. */
export function linesOf(flat: readonly string[]): string {
  let lines = '';
  for (let index = 0; index < flat.length; index += 2) lines += `${flat[index]}: ${flat[index + 1]}\r\n`;
  return lines;
}
