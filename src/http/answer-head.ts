/** The head of an upstream's answer, as the client gets it. */
import type { Exchange } from '../exchange.ts';
import { nominatedBy, stopsHere } from './hop-by-hop.ts';
import { commonHeaders, isOurs, otherHeaders, ownLines, type ResponsePolicy } from './response.ts';

/** As undici gives it: names and values in turn, in latin1. */
type RawHeaders = ReadonlyArray<Buffer | string>;

/**
 * The upstream's own headers but for hop-by-hop ones and those that are ours to say; flat name-value list.
 */
export function answerHead(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  raw: RawHeaders,
): string[] {
  return [...commonHeaders(policy, exchange), ...passedOn(policy, status, raw), 'Via', '1.1 portcullis'];
}

/**
 * Writes that head.
 * @throws ERR_INVALID_CHAR, ERR_INVALID_HTTP_TOKEN, ERR_HTTP_INVALID_STATUS_CODE for what node:http does not pass on
 */
export function writeAnswerHead(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  raw: RawHeaders,
): void {
  const headers = passedOn(policy, status, raw);
  headers.push(...otherHeaders(policy, exchange));
  const lines = `${ownLines(policy, exchange)}Via: 1.1 portcullis\r\n`;
  exchange.response.writeCheckedHead(status, lines, headers);
}

function passedOn(policy: ResponsePolicy, status: number, raw: RawHeaders): string[] {
  const given: string[] = [];
  let connection: string | undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = latin1(raw[index]);
    const value = latin1(raw[index + 1]);
    given.push(name, name.toLowerCase(), value);
    // In however many lines.
    if (given.at(-2) === 'connection')
      connection = connection === undefined ? value : `${connection},${value}`;
  }
  const nominated = nominatedBy(connection);
  const passed: string[] = [];
  for (let index = 0; index < given.length; index += 3) {
    const lowerName = given[index + 1] ?? '';
    // Neither has a length to tell (RFC 9110 §8.6).
    if (lowerName === 'content-length' && (status === 101 || status === 204)) continue;
    if (stopsHere(lowerName.replaceAll('_', '-'), nominated) || isOurs(policy, lowerName)) continue;
    passed.push(given[index] ?? '', given[index + 2] ?? '');
  }
  return passed;
}

function latin1(text: Buffer | string | undefined): string {
  return typeof text === 'string' ? text : (text?.toString('latin1') ?? '');
}
