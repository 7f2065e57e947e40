/** What speaks RESP and is no Redis that makes sense: it is down, or its commands fail, and nothing else happens. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { RedisConnections } from '../../src/redis/connections.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import { until } from '../support/redis.ts';

type Topology = 'standalone' | 'sentinel' | 'cluster';

const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;

/** As a Redis answers, so far as the library asks. */
function sense([command = '', first = '']: readonly string[], port: number): string {
  const address = `*2\r\n${bulk('127.0.0.1')}`;
  switch (command) {
    case 'hello':
      return `%3\r\n${bulk('proto')}:3\r\n${bulk('version')}${bulk('7.0.0')}${bulk('role')}${bulk('master')}`;
    case 'info':
      return bulk('redis_version:7.0.0\r\nrole:master\r\nloading:0');
    case 'ping':
      return first === '' ? '+PONG\r\n' : bulk(first);
    case 'cluster':
      return first === 'info'
        ? bulk('cluster_state:ok')
        : `*1\r\n*3\r\n:0\r\n:16383\r\n${address}:${port}\r\n`;
    case 'sentinel':
      return first.startsWith('get-master') ? `${address}${bulk(String(port))}` : '*0\r\n';
    case 'subscribe':
      return `>3\r\n${bulk('subscribe')}${bulk(first)}:1\r\n`;
    case 'role':
      return `*3\r\n${bulk('master')}:1\r\n*0\r\n`;
    default:
      return '+OK\r\n';
  }
}

/** @param answer what it says in place of what makes sense; @returns its URL, and how often it has said that */
async function startOddServer(
  t: Test,
  topology: Topology,
  answer: (command: string, socket: Socket) => string | undefined,
) {
  const sockets = new Set<Socket>();
  const said = { count: 0 };
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (data) => {
      for (const command of data.toString('latin1').split(/(?=\*\d+\r\n\$)/)) {
        const words = command
          .split('\r\n')
          .filter((_, index) => index > 0 && index % 2 === 0)
          .map((word) => word.toLowerCase());
        const odd = answer(words[0] ?? '', socket);
        if (odd !== undefined) said.count += 1;
        socket.write(odd ?? sense(words, (server.address() as AddressInfo).port));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const place = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const urls = { standalone: `redis://${place}`, cluster: `redis+cluster://${place}` };
  return { said, url: topology === 'sentinel' ? `redis+sentinel://${place}/m` : urls[topology] };
}

const cases: ReadonlyArray<readonly [Topology, command: string, what: string, answer: string]> = [
  ['standalone', 'evalsha', 'a push of nothing', '>1\r\n_\r\n'],
  ['standalone', 'subscribe', 'a number', ':1\r\n'],
  ['standalone', 'subscribe', 'null', '$-1\r\n'],
  ['standalone', 'ping', 'two answers, of which one is null', '+PONG\r\n$-1\r\n$-1\r\n'],
  ['sentinel', 'info', 'null', '$-1\r\n'],
  ['cluster', 'cluster', 'null', '$-1\r\n'],
  ['cluster', 'cluster', 'a list of null', '*1\r\n$-1\r\n'],
  [
    'cluster',
    'cluster',
    'a port that is none',
    `*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n${bulk('127.0.0.1')}:99999\r\n`,
  ],
  ['cluster', 'cluster', 'more slots than there are', '*1\r\n*2\r\n:0\r\n:99999999\r\n'],
  ['cluster', 'evalsha', 'a redirection to nowhere', '-ASK\r\n'],
  ['cluster', 'evalsha', 'a redirection to a port that is none', '-MOVED 1 127.0.0.1:99999\r\n'],
];

for (const [topology, odd, what, answer] of cases)
  t.test(`${topology}: ${odd} answered with ${what} ends no process`, async (t) => {
    const { url, said } = await startOddServer(t, topology, (command) =>
      command === odd ? answer : undefined,
    );
    const connections = new RedisConnections(parseRedisUrl(url));
    t.teardown(() => connections.close());
    const client = connections.client('odd', () => undefined);
    connections.subscriber('odd', { channels: ['x'], onMessage: () => undefined, onState: () => undefined });
    await until(async () => {
      await client.send('EVALSHA', '0', 1, 'x').catch(() => undefined);
      return said.count >= 3;
    });
    t.ok(said.count >= 3, 'it was asked again and again');
  });

t.test('a channel that cannot be heard again after a reconnect ends no process', async (t) => {
  let times = 0;
  const { url, said } = await startOddServer(t, 'standalone', (command, socket) => {
    if (command !== 'subscribe') return undefined;
    times += 1;
    if (times === 1) setTimeout(() => socket.destroy(), 100);
    return times === 1 || times > 4 ? undefined : '-NOPERM not now\r\n';
  });
  const connections = new RedisConnections(parseRedisUrl(url));
  t.teardown(() => connections.close());
  const states: boolean[] = [];
  const onState = (up: boolean) => states.push(up);
  connections.subscriber('odd', { channels: ['x'], onMessage: () => undefined, onState });
  await until(() => said.count >= 3 && states.length >= 3);
  t.strictSame(states, [true, false, true]);
});
