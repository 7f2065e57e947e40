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
  // Behind the hops before this one.
  headers.push('Via', '1.1 portcullis', ...otherHeaders(policy, exchange));
  exchange.response.writeCheckedHead(status, ownLines(policy, exchange), headers);
}

function passedOn(policy: ResponsePolicy, status: number, raw: RawHeaders): string[] {
  const nominated = nominatedBy(connectionOf(raw));
  const passed: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = latin1(raw[index]);
    const lowerName = name.toLowerCase();
    // Neither has a length to tell (RFC 9110 §8.6).
    if (lowerName === 'content-length' && (status === 101 || status === 204)) continue;
    if (stopsHere(lowerName.replaceAll('_', '-'), nominated) || isOurs(policy, lowerName)) continue;
    passed.push(name, latin1(raw[index + 1]));
  }
  return passed;
}

/** All that `Connection` says, in however many lines. */
function connectionOf(raw: RawHeaders): string | undefined {
  let said: string | undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (raw[index]?.length !== 'connection'.length || latin1(raw[index]).toLowerCase() !== 'connection')
      continue;
    const value = latin1(raw[index + 1]);
    said = said === undefined ? value : `${said},${value}`;
  }
  return said;
}

function latin1(text: Buffer | string | undefined): string {
  return typeof text === 'string' ? text : (text?.toString('latin1') ?? '');
}
