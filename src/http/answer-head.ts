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
  const given = raw.map((text) => text.toString('latin1'));
  const nominated = nominatedBy(connectionOf(given));
  const head = commonHeaders(policy, exchange);
  for (let index = 0; index + 1 < given.length; index += 2) {
    const name = given[index] ?? '';
    const lowerName = name.toLowerCase();
    // Neither has a length to tell (RFC 9110 §8.6).
    if (lowerName === 'content-length' && (status === 101 || status === 204)) continue;
    if (stopsHere(lowerName.replaceAll('_', '-'), nominated) || isOurs(policy, lowerName)) continue;
    head.push(name, given[index + 1] ?? '');
  }
  head.push('Via', '1.1 portcullis');
  return head;
}

/** All that `Connection` says, in however many lines. */
function connectionOf(given: readonly string[]): string | undefined {
  const said = given.filter(
    (_, index) => index % 2 === 1 && given[index - 1]?.toLowerCase() === 'connection',
  );
  return said.length === 0 ? undefined : said.join(',');
}
