import t from 'tap';
import { addressPartition, clientAddress, normalizeAddress, trustOf } from '../../src/http/client-address.ts';
import { requestOf } from '../support/exchange.ts';

const proxies = trustOf(['10.0.0.0/8', 'fd00::/8', '203.0.113.7']);

/** Whose address it is, when `peer` sends this X-Forwarded-For. */
const addressOf = (peer: string, forwardedFor?: string, trust = proxies) =>
  clientAddress(
    requestOf({ headers: forwardedFor === undefined ? [] : ['X-Forwarded-For', forwardedFor] }),
    { address: normalizeAddress(peer) ?? 'unix', isTrusted: trust(peer) },
    trust,
  );

t.test('nobody is trusted unless named', async (t) => {
  t.equal(addressOf('127.0.0.1', '1.2.3.4', trustOf([])), '127.0.0.1');
});

t.test('attack 17: what an untrusted peer says is not looked at', async (t) => {
  t.equal(addressOf('192.0.2.1', '1.2.3.4'), '192.0.2.1');
});

for (const [name, peer, forwardedFor, expected] of [
  ['a trusted peer names its client', '10.0.0.1', '192.0.2.1', '192.0.2.1'],
  [
    'a chain of trusted proxies is walked from the right',
    '10.0.0.1',
    '192.0.2.1, 10.0.0.3, 10.0.0.2',
    '192.0.2.1',
  ],
  [
    'a client cannot put itself before its own address',
    '10.0.0.1',
    '1.2.3.4, 192.0.2.1, 10.0.0.2',
    '192.0.2.1',
  ],
  ['a client inside the trusted network is the last of the chain', '10.0.0.1', '10.0.0.9', '10.0.0.9'],
  ['without a chain the proxy is the client', '10.0.0.1', undefined, '10.0.0.1'],
  ['an empty chain is none', '10.0.0.1', '', '10.0.0.1'],
  ['an IPv4-mapped peer is IPv4', '::ffff:10.0.0.1', '192.0.2.1', '192.0.2.1'],
  ['an IPv4-mapped hop is IPv4', '10.0.0.1', '192.0.2.1, ::ffff:10.0.0.2', '192.0.2.1'],
  ['an IPv4-mapped hop in hexadecimal is IPv4', '10.0.0.1', '::ffff:c000:201', '192.0.2.1'],
  ['an IPv6 chain', 'fd00::1', '2001:DB8:0:0::1', '2001:db8::1'],
  ['a scoped hop keeps its zone', '10.0.0.1', 'fe80::1%eth0', 'fe80::1%eth0'],
  [
    'a malformed hop ends the walk at the last good one',
    '10.0.0.1',
    '192.0.2.1, unknown, 10.0.0.2',
    '10.0.0.2',
  ],
  ['an obfuscated hop ends the walk', '10.0.0.1', '_hidden', '10.0.0.1'],
  ['a hop with a port is its address', '10.0.0.1', '192.0.2.1:4711', '192.0.2.1'],
  ['a bracketed hop with a port is its address', '10.0.0.1', '[2001:db8::7]:4711', '2001:db8::7'],
  ['an empty hop ends the walk', '10.0.0.1', '192.0.2.1,,10.0.0.2', '10.0.0.2'],
  ['CWE-1389: a number is no address', '10.0.0.1', '1', '10.0.0.1'],
  ['CWE-1389: an octal is no address', '10.0.0.1', '0300.0.2.1', '10.0.0.1'],
  ['CWE-1389: a hexadecimal is no address', '10.0.0.1', '0xc0.0.2.1', '10.0.0.1'],
  ['CWE-1389: an octal is not inside a trusted network', '10.0.0.1', '192.0.2.1, 012.0.0.1', '10.0.0.1'],
  ['CWE-1389: three parts are no address', '10.0.0.1', '192.0.513', '10.0.0.1'],
  ['an address of ten pages is no address', '10.0.0.1', '1'.repeat(8_000), '10.0.0.1'],
] as const)
  t.test(name, async (t) => {
    t.equal(addressOf(peer, forwardedFor), expected);
  });

t.test('two X-Forwarded-For lines are one chain', async (t) => {
  const headers = ['X-Forwarded-For', '192.0.2.1', 'X-Forwarded-For', '10.0.0.2'];
  const peer = { address: '10.0.0.1', isTrusted: true };
  t.equal(clientAddress(requestOf({ headers }), peer, proxies), '192.0.2.1');
});

t.test('a single trusted address trusts no neighbour', async (t) => {
  t.equal(addressOf('203.0.113.7', '192.0.2.1'), '192.0.2.1');
  t.equal(addressOf('203.0.113.8', '192.0.2.1'), '203.0.113.8');
});

t.test('what is no address is trusted by nobody', async (t) => {
  t.equal(trustOf(['0.0.0.0/1', '::/1'])('unix'), false);
});

t.test('an address has one form', async (t) => {
  t.equal(normalizeAddress('2001:0db8:0000::0001'), '2001:db8::1');
  t.equal(normalizeAddress('::FFFF:192.0.2.1'), '192.0.2.1');
  t.equal(normalizeAddress(undefined), undefined);
  t.equal(normalizeAddress(''), undefined);
});

t.test('attack 34: 300 addresses of one IPv6 /64 are one partition', async (t) => {
  const partitions = new Set(
    Array.from({ length: 300 }, (_, host) => addressPartition(`2001:db8:1:2::${host.toString(16)}`)),
  );
  t.strictSame([...partitions], ['2001:db8:1:2::/64']);
});

for (const [address, partition] of [
  ['192.0.2.1', '192.0.2.1'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8:0:1::1', '2001:db8:0:1::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['unix', 'unix'],
] as const)
  t.test(`${address} pays from ${partition}`, async (t) => {
    t.equal(addressPartition(address), partition);
  });
