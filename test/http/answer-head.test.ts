import t from 'tap';
import { systemClock } from '../../src/clock.ts';
import { answerHead, writeAnswerHead } from '../../src/http/answer-head.ts';
import { linesOf } from '../../src/http/checked-response.ts';
import { Cors } from '../../src/http/cors.ts';
import { SecurityHeaders } from '../../src/http/security-headers.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';

const policy = {
  security: new SecurityHeaders(),
  cors: new Cors([]),
  clock: systemClock,
  stallMs: 1_000,
  isDraining: () => false,
};
const theirs = [
  ...[
    'Via',
    '1.0 edge',
    'Content-Type',
    'text/plain',
    'Content-Length',
    '2',
    'X-Frame-Options',
    'SAMEORIGIN',
  ],
  ...[
    'Connection',
    'X-Hop',
    'X-Hop',
    '1',
    'Keep-Alive',
    'timeout=5',
    'Set-Cookie',
    'a=1',
    'Set-Cookie',
    'b=2',
  ],
];
const raw = theirs.map((text) => Buffer.from(text));

/** What is written of it, line by line. */
function written(): string[] {
  const exchange = exchangeOf({}, { route: routeOf() });
  writeAnswerHead(policy, exchange, 200, raw);
  return String(Reflect.get(exchange.response, '_header')).trimEnd().split('\r\n');
}

t.test('hops stand in their order', async (t) => {
  const vias = written().filter((line) => line.startsWith('Via:'));
  t.strictSame(vias, ['Via: 1.0 edge', 'Via: 1.1 portcullis']);
});

t.test('what is written is what the list says, in whatever order', async (t) => {
  const list = linesOf(answerHead(policy, exchangeOf({}, { route: routeOf() }), 200, raw))
    .trimEnd()
    .split('\r\n');
  const nodes = /^(?:HTTP|Date|Connection|Keep-Alive)/;
  t.strictSame(
    written()
      .filter((line) => !nodes.test(line))
      .sort(),
    list.sort(),
  );
});

t.test('what speaks of the hop before, and what is ours to say, does not pass', async (t) => {
  const lines = written().join('\n');
  t.notMatch(lines, /X-Hop|timeout=5|SAMEORIGIN/);
  t.match(lines, /Set-Cookie: a=1\n[\s\S]*Set-Cookie: b=2/);
});
