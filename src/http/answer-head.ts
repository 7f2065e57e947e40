/** The head of an upstream's answer, as the client gets it. */
import type { Exchange } from '../exchange.ts';
import { nominatedBy, stopsHere } from './hop-by-hop.ts';
import { commonHeaders, isOurs, type ResponsePolicy } from './response.ts';

/**
 * The upstream's own headers but for hop-by-hop ones and those that are ours to say; flat name-value list.
 * @param raw names and values in turn, in latin1
 */
export function answerHead(
  policy: ResponsePolicy,
  exchange: Exchange,
  status: number,
  raw: ReadonlyArray<Buffer | string>,
): string[] {
  const pairs: Array<[name: string, value: string]> = [];
  let connection: string | undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index]?.toString('latin1') ?? '';
    const value = raw[index + 1]?.toString('latin1') ?? '';
    if (name.toLowerCase() === 'connection')
      connection = connection === undefined ? value : `${connection},${value}`;
    pairs.push([name, value]);
  }
  const nominated = nominatedBy(connection);
  const kept = pairs.filter(([name]) => {
    const lowerName = name.toLowerCase();
    // Neither has a length to tell (RFC 9110 §8.6).
    if (lowerName === 'content-length' && (status === 101 || status === 204)) return false;
    return !stopsHere(lowerName.replaceAll('_', '-'), nominated) && !isOurs(policy, lowerName);
  });
  return [...commonHeaders(policy, exchange), ...kept.flat(), 'Via', '1.1 portcullis'];
}
