import t from 'tap';
import { Pseudonyms } from '../../src/audit/pseudonyms.ts';
import { serialize as openLine, recordOf } from '../../src/audit/record.ts';
import { exchangeOf } from '../support/exchange.ts';

const serialize = (...given: Parameters<typeof openLine>) => `${openLine(...given)}}`;

const key = 'k'.repeat(32);
const lineOf = (pseudonyms: Pseudonyms, peer = '192.0.2.1') =>
  JSON.parse(
    serialize(recordOf(exchangeOf({ peer, headers: ['User-Agent', 'curl/8'] }), 'complete', 1), {
      replica: 'test',
      configDigest: 'digest',
      pseudonyms,
    }),
  );

t.test('what is named is replaced, and the rest stays', async (t) => {
  const line = lineOf(new Pseudonyms(['client_ip'], key));
  t.match(line, { client_ip: /^pseudonym:[\w-]{16}$/, user_agent: 'curl/8' });
  t.match(lineOf(new Pseudonyms(['client_ip', 'user_agent'], key)), { user_agent: /^pseudonym:/ });
});

t.test('one client has one pseudonym, in every process with the key; others have others', async (t) => {
  const one = lineOf(new Pseudonyms(['client_ip'], key)).client_ip;
  t.equal(lineOf(new Pseudonyms(['client_ip'], key)).client_ip, one);
  t.not(lineOf(new Pseudonyms(['client_ip'], key), '192.0.2.2').client_ip, one);
  t.not(lineOf(new Pseudonyms(['client_ip'], 'l'.repeat(32))).client_ip, one, 'nor without the key');
});

t.test('an address and a user agent that read alike do not get one pseudonym', async (t) => {
  const pseudonyms = new Pseudonyms(['client_ip', 'user_agent'], key);
  t.not(pseudonyms.of('client_ip', 'x'), pseudonyms.of('user_agent', 'x'));
});

t.test('that it was nobody from outside stays readable', async (t) => {
  t.equal(lineOf(new Pseudonyms(['client_ip'], key), 'unix').client_ip, 'unix');
});
