import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  parseRedisUrl,
  RedisUrlError,
  redisCrossesNetworkInPlainText,
  redisTlsOptions,
  shownRedis,
  withoutRedisPasswords,
} from '../../src/redis/url.ts';

t.test('one server', async (t) => {
  t.match(parseRedisUrl('redis://127.0.0.1'), {
    topology: 'standalone',
    hosts: [{ host: '127.0.0.1', port: 6379 }],
    credentials: { user: undefined, password: undefined },
    database: 0,
    isTls: false,
  });
  t.match(parseRedisUrl('rediss://gate%2Fway:p%40%3A@redis.example:6380/5?ca=%2Fx%2Fca.pem&cert=c&key=k'), {
    hosts: [{ host: 'redis.example', port: 6380 }],
    credentials: { user: 'gate/way', password: 'p@:' },
    database: 5,
    isTls: true,
    ca: '/x/ca.pem',
    cert: 'c',
    key: 'k',
  });
  t.match(parseRedisUrl('redis://:secret@[::1]:7000/'), {
    hosts: [{ host: '::1', port: 7000 }],
    credentials: { user: undefined, password: 'secret' },
    database: 0,
  });
});

t.test('Sentinels', async (t) => {
  t.match(
    parseRedisUrl('redis+sentinel://u:p@h1,h2:26380,[::1]:1/my.master/3?sentinel_user=a&sentinel_password=b'),
    {
      topology: 'sentinel',
      hosts: [
        { host: 'h1', port: 26_379 },
        { host: 'h2', port: 26_380 },
        { host: '::1', port: 1 },
      ],
      credentials: { user: 'u', password: 'p' },
      sentinelCredentials: { user: 'a', password: 'b' },
      masterName: 'my.master',
      database: 3,
    },
  );
});

t.test('a cluster', async (t) => {
  t.match(parseRedisUrl('rediss+cluster://h1:7001,h2/0'), {
    topology: 'cluster',
    hosts: [
      { host: 'h1', port: 7001 },
      { host: 'h2', port: 6379 },
    ],
    isTls: true,
    database: 0,
  });
});

for (const [url, fault] of [
  ['', 'is not a Redis URL'],
  ['http://hunter2', 'is not a Redis URL'],
  ['redis:hunter2', 'is not a Redis URL'],
  ['redis+replica://h:hunter2@h', 'is not a Redis URL'],
  ['redis://hunter2@h', 'is not a Redis URL'],
  ['redis://u:hun/ter2@h', 'has a host that is none'],
  ['redis://u:hun#ter2@h', 'is not a Redis URL'],
  ['redis://u:@h', 'names a user without a password'],
  ['redis://', 'names no host'],
  ['redis://:hunter2@', 'names no host'],
  ['redis://a b', 'has a host that is none'],
  ['redis://h1,', 'names no host'],
  ['redis://h1,h2', 'names several hosts of one server'],
  ['redis://h:0', 'has a port that is none'],
  ['redis://h:65536', 'has a port that is none'],
  ['redis://h/x', 'has a database that is no number'],
  ['redis://h/-1', 'has a database that is no number'],
  ['redis://h/1/2', 'has a path that leads nowhere'],
  ['redis+sentinel://h1,h2', 'does not say which master to ask the Sentinels for'],
  ['redis+sentinel://h1/m/1/2', 'has a path that leads nowhere'],
  ['redis+cluster://h1/1', 'names a database of a cluster, which has only 0'],
  ['redis+cluster://h1?sentinel_password=hunter2', 'has credentials for Sentinels and names none'],
  ['redis+sentinel://h1/m?sentinel_user=hunter2', 'has a sentinel_user without a password'],
  ['redis://h?ca=x', 'names certificates and does not use TLS'],
  ['rediss://h?cert=x', 'has only one of cert and key'],
  ['rediss://h?tls=off', 'has a parameter that is not known here'],
  ['rediss://h?ca=x&ca=y', 'has the parameter ca twice'],
  ['redis://u:hunter2%@h', 'has a % that is not followed by two hex digits'],
  ['redis://u:hunter2%0a@h', 'has a control character in it'],
] as const) {
  t.test(`refused: ${url}`, async (t) => {
    const error = (() => {
      try {
        parseRedisUrl(url);
        return undefined;
      } catch (thrown) {
        return thrown;
      }
    })();
    t.ok(error instanceof RedisUrlError);
    t.match(error, { fault });
    t.notMatch(String((error as Error).message), /hunter2|ter2/);
  });
}

t.test('property: whatever is written, it is read or refused in words without it', async () => {
  const secret = 'hunter2';
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'redis+:/@,?#%&=[]0az') }), (noise) => {
      try {
        parseRedisUrl(`redis://${noise}:${secret}@${noise}`);
        return true;
      } catch (error) {
        return error instanceof RedisUrlError && !error.message.includes(secret);
      }
    }),
    { numRuns: 2_000 },
  );
});

t.test('what is shown and what is compared has no password', async (t) => {
  const url = 'redis+sentinel://u:hunter2@h1,[::1]/m?sentinel_user=s&sentinel_password=hunter3';
  t.equal(shownRedis(parseRedisUrl(url)), 'h1:26379,[::1]:26379 (master m)');
  t.notMatch(JSON.stringify(withoutRedisPasswords(url)), /hunter/);
  t.strictSame(withoutRedisPasswords(url), withoutRedisPasswords(url.replaceAll('hunter', 'other')));
});

t.test('plain text to another machine is noticed', async (t) => {
  const crosses = (url: string) => redisCrossesNetworkInPlainText(parseRedisUrl(url));
  t.equal(crosses('redis://redis.example'), true);
  t.equal(crosses('redis+cluster://127.0.0.1,10.0.0.1'), true);
  t.equal(crosses('rediss://redis.example'), false);
  t.equal(crosses('redis://localhost'), false);
});

t.test('files that cannot be read, or hold no certificate, are told by their parameter', async (t) => {
  const file = join(t.testdir(), 'ca.pem');
  const options = () => redisTlsOptions(parseRedisUrl(`rediss://h?ca=${encodeURIComponent(file)}`));
  t.throws(options, { name: 'RedisUrlError', fault: /as ca that cannot be read \(ENOENT\)/ });
  execFileSync('mkfifo', [file]);
  t.throws(options, { name: 'RedisUrlError', fault: /\(NOT_REGULAR\)/ }, 'and a pipe is not waited for');
  rmSync(file);
  writeFileSync(file, 'nothing');
  t.throws(options, { name: 'RedisUrlError', fault: /holds no certificate/ });
});
