/** What Redis adds to the polling: here nobody polls, so that only a push can be the reason. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { openTables } from '../../src/identity/open.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import type { IdentityTables } from '../../src/identity/tables.ts';
import { RedisConnections } from '../../src/redis/connections.ts';
import { pushRevocations } from '../../src/redis/revocation-push.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import { openPostgres, servingBounds } from '../../src/sql/postgres.ts';
import { parseDatabaseUrl } from '../../src/sql/url.ts';
import { startPostgres } from '../support/postgres.ts';
import { startRedis, type TestRedis, until } from '../support/redis.ts';

const postgres = await startPostgres(t);

async function makeDatabase(): Promise<string> {
  const url = await postgres.createDatabase();
  const opened = await openTables(parseDatabaseUrl(url), { clock: systemClock, onError: () => undefined });
  await opened.close();
  return url;
}

/** Who follows a database, looks at it by itself once an hour, and hears of news over Redis. */
async function follow(t: Test, database: string, redis: TestRedis) {
  const location = parseDatabaseUrl(database);
  if (location.kind !== 'postgres') throw new Error(location.kind);
  const options = { applicationName: 'test', onError: () => undefined };
  const tables = openPostgres<IdentityTables>(location, options, servingBounds);
  const seen = { revoked: [] as unknown[], looks: 0 };
  const revocations = new Revocations({
    tables,
    believer: {
      revoke: (subjects) => void seen.revoked.push(subjects === 'all' ? 'all' : [...subjects]),
      proven: () => {
        seen.looks += 1;
      },
    },
    clock: systemClock,
    intervalMs: 3_600_000,
    onState: () => undefined,
  });
  await revocations.start();
  // Before that nothing was known.
  seen.revoked.length = 0;
  const connections = new RedisConnections(parseRedisUrl(redis.url));
  pushRevocations(connections, revocations);
  t.teardown(async () => {
    await connections.close();
    await revocations.close();
    await tables.destroy();
  });
  const listening = async () =>
    Number(String(await redis.command('PUBSUB', 'NUMSUB', 'portcullis:revoked')).split(',')[1]);
  /** What a trigger does. */
  const revoke = (subject: string) =>
    tables.transaction().execute(async (transaction) => {
      await sql`update revision set value = value + 1`.execute(transaction);
      await sql`insert into revocations select ${subject}, value, 0 from revision`.execute(transaction);
    });
  return { revocations, seen, listening, revoke };
}

t.test('a revocation on one gateway reaches the others by push', async (t) => {
  const redis = await startRedis(t);
  const database = await makeDatabase();
  const [one, two, three] = [
    await follow(t, database, redis),
    await follow(t, database, redis),
    await follow(t, database, redis),
  ];
  await until(async () => (await one.listening()) === 3);
  // Each has looked once when it began to listen.
  await delay(300);
  await one.revoke('key:a');
  await one.revocations.catchUp();
  t.strictSame(one.seen.revoked, [['key:a']]);
  await until(() => two.seen.revoked.length + three.seen.revoked.length === 2);
  t.strictSame([...two.seen.revoked, ...three.seen.revoked], [['key:a'], ['key:a']]);
  await delay(300);
  const looks = [one, two, three].map(({ seen }) => seen.looks);
  await delay(500);
  t.strictSame(
    [one, two, three].map(({ seen }) => seen.looks),
    looks,
    'and nobody tells on and on',
  );
});

t.test('a flood of forged messages costs ten looks a second, and revokes nothing', async (t) => {
  const redis = await startRedis(t);
  const { seen, listening, revoke } = await follow(t, await makeDatabase(), redis);
  await until(async () => (await listening()) === 1);
  const before = seen.looks;
  const startedMs = performance.now();
  for (let round = 0; round < 50; round += 1) {
    await Promise.all(
      Array.from({ length: 40 }, () => redis.command('PUBLISH', 'portcullis:revoked', '{"revoke":"all"}')),
    );
  }
  await delay(300);
  const seconds = (performance.now() - startedMs) / 1000;
  t.ok(seen.looks - before <= seconds * 10 + 2, `${seen.looks - before} looks in ${seconds} s`);
  t.strictSame(seen.revoked, []);
  await revoke('key:b');
  await redis.command('PUBLISH', 'portcullis:revoked', '');
  await until(() => seen.revoked.length === 1);
});

t.test('what was published while the connection was lost is looked for once it is back', async (t) => {
  const redis = await startRedis(t);
  const { seen, listening, revoke } = await follow(t, await makeDatabase(), redis);
  await until(async () => (await listening()) === 1);
  await redis.kill();
  await revoke('key:c');
  await redis.start();
  await until(() => seen.revoked.length === 1);
});
