/** What only a database with many writers at once can get wrong. */
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.ts';
import { openTables } from '../../src/identity/open.ts';
import { loginSchema, newKeySchema } from '../../src/identity/shapes.ts';
import { parseDatabaseUrl } from '../../src/sql/url.ts';
import { startPostgres } from '../support/postgres.ts';
import { startPostgresProxy } from '../support/postgres-proxy.ts';
import { until } from '../support/redis.ts';
import {
  bearer,
  code,
  createKey,
  createUser,
  keyLogIn,
  logIn,
  open,
  openBelieving,
  reason,
  refusal,
  useDatabases,
} from './fixture.ts';

const server = await startPostgres(t);
useDatabases(() => server.createDatabase());

const rounds = 25;

for (const isolation of ['read committed', 'repeatable read'])
  t.test(
    `two gateways that each disable the other’s admin leave one, where ${isolation} is the default`,
    (t) => disableEachOther(t, isolation),
  );

async function disableEachOther(t: Test, isolation: string): Promise<void> {
  const database = await server.createDatabase();
  const client = await server.connect(database);
  const { rows } = await client.query('select current_database() as name');
  await client.query(`alter database ${rows[0].name} set default_transaction_isolation = '${isolation}'`);
  await client.end();
  const one = await open(t, database);
  const two = await open(t, database);
  const spare = await createUser(one, 'spare', { is_admin: true });
  for (let round = 0; round < rounds; round += 1) {
    const a = await createUser(one, `a${round}`, { is_admin: true });
    const b = await createUser(one, `b${round}`, { is_admin: true });
    await one.identity.users.patch(spare.id, { is_admin: false });
    const codes = await Promise.all([
      code(one.identity.users.toggle(a.id, false)),
      code(two.identity.users.patch(b.id, { is_admin: false })),
    ]);
    t.same(codes.sort(), ['conflict', undefined]);
    // So that the next two are the only ones again.
    await one.identity.users.patch(spare.id, { is_admin: true });
    for (const { id } of [a, b]) await one.identity.users.patch(id, { is_admin: false });
  }
}

t.test('of six refreshes over two gateways’ connections one gets tokens, and the session ends', async (t) => {
  const one = await open(t);
  const two = await open(t, one.database);
  await createUser(one, 'alice');
  for (let round = 0; round < rounds; round += 1) {
    const { access, refresh } = await logIn(one, 'alice');
    const tries = [one, two, one, two, one, two].map(({ identity }) =>
      reason(identity.grants.refresh(refresh.text)),
    );
    const reasons = await Promise.all(tries);
    t.equal(reasons.filter((found) => found === undefined).length, 1, reasons.join());
    t.equal(await reason(bearer(one, access.text)), 'revoked');
  }
});

t.test('no login that was under way outlives the disabling of its key', async (t) => {
  const one = await open(t);
  const two = await open(t, one.database);
  for (let round = 0; round < rounds; round += 1) {
    const { id, key } = await createKey(one);
    const logins = [one, two, one, two].map((fixture) => keyLogIn(fixture, key).catch(() => undefined));
    await two.identity.keys.toggle(id, false);
    for (const grant of await Promise.all(logins)) {
      if (grant === undefined) continue;
      t.not(await reason(bearer(one, grant.access.text)), undefined);
    }
  }
});

t.test('nor one that meets the deletion of its key, which is never a fault', async (t) => {
  const one = await open(t);
  const two = await open(t, one.database);
  for (let round = 0; round < rounds; round += 1) {
    const { id, key } = await createKey(one);
    const logins = [one, two, one, two].map((fixture) => refusal(keyLogIn(fixture, key)));
    t.equal(await code(two.identity.keys.delete(id)), undefined);
    for (const refused of await Promise.all(logins)) {
      t.ok(refused === undefined || refused.status === 401, `${refused?.code}`);
    }
    t.equal(await reason(bearer(one, key)), 'unknown_key');
  }
});

t.test('setup is done once, whichever of two gateways is first', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const one = await open(t);
    const two = await open(t, one.database);
    const made = await Promise.all([one, two, one, two].map(({ identity }) => identity.setup()));
    t.equal(made.filter((first) => first !== undefined).length, 1);
  }
});

t.test('text that PostgreSQL cannot hold is refused before it gets there', async (t) => {
  t.notOk(newKeySchema.safeParse({ name: 'a\0b' }).success);
  t.notOk(newKeySchema.safeParse({ name: 'a', description: '\0' }).success);
  t.notOk(loginSchema.safeParse({ username: '\0', password: 'x' }).success);
});

/** A store whose database loses the answers to its commits when it is told to. */
async function openLosing(t: Test) {
  const proxy = await startPostgresProxy(t, await server.createDatabase());
  const fixture = await open(t, proxy.url);
  const { username } = await createUser(fixture, 'alice');
  return { proxy, fixture, username };
}

t.test('a refresh whose COMMIT was carried out but never answered is answered all the same', async (t) => {
  const { proxy, fixture, username } = await openLosing(t);
  const { refresh } = await logIn(fixture, username);
  proxy.loseCommit('goes on');
  const again = await fixture.identity.grants.refresh(refresh.text);
  t.equal(proxy.lost, 1);
  t.equal(await reason(bearer(fixture, again.access.text)), undefined);
  const next = await fixture.identity.grants.refresh(again.refresh.text);
  t.equal(await reason(fixture.identity.grants.refresh(again.refresh.text)), 'reused');
  t.equal(await reason(bearer(fixture, next.access.text)), 'revoked', 'reuse still ends the session');
});

t.test('a refresh that was done, answered by 503, and presented again is no theft', async (t) => {
  const { proxy, fixture, username } = await openLosing(t);
  const { refresh } = await logIn(fixture, username);
  for (let round = 0; round < 3; round += 1) {
    proxy.loseCommit('is away');
    t.equal(await code(fixture.identity.grants.refresh(refresh.text)), 'store_unavailable');
    t.equal(await code(fixture.identity.grants.refresh(refresh.text)), 'store_unavailable');
    proxy.mend();
  }
  t.equal(proxy.lost, 3, 'each of them was carried out');
  const grants = await Promise.allSettled([1, 2, 3].map(() => fixture.identity.grants.refresh(refresh.text)));
  t.equal(grants.filter(({ status }) => status === 'fulfilled').length, 1, 'it works once');
  t.equal(await reason(fixture.identity.grants.refresh(refresh.text)), 'revoked');
});

t.test('a rotation of a key whose COMMIT was never answered shows its secret all the same', async (t) => {
  const { proxy, fixture } = await openLosing(t);
  const { id, key } = await createKey(fixture);
  proxy.loseCommit('goes on');
  const rotated = await fixture.identity.keys.rotate(id, 60_000);
  t.equal(proxy.lost, 1);
  t.equal(await reason(bearer(fixture, rotated.key)), undefined);
  t.equal(await reason(bearer(fixture, key)), undefined, 'the old one overlaps');
});

t.test('a gateway whose connections are half open still sees a revocation in time', async (t) => {
  const here = await open(t);
  const proxy = await startPostgresProxy(t, here.database);
  const elsewhere = await openBelieving(t, proxy.url);
  const { id, key } = await createKey(here);
  await elsewhere.present(key);
  proxy.halfOpen();
  const startedMs = performance.now();
  await here.identity.keys.toggle(id, false);
  while (elsewhere.verified.find({ authType: 'Bearer', text: key }) !== undefined) {
    if (performance.now() - startedMs > 30_000) return t.fail('never');
    await delay(20);
  }
  const tookMs = Math.round(performance.now() - startedMs);
  t.comment(`FIGURE half-open connections to the database: ${tookMs} ms`);
  t.ok(tookMs < 5_000);
  t.equal(elsewhere.errors.length, 0);
  return undefined;
});

t.test('after another run of the server has taken over, nothing of before is believed', async (t) => {
  const { database } = await open(t);
  const revoked: unknown[] = [];
  let looks = 0;
  const opened = await openTables(parseDatabaseUrl(database), {
    clock: systemClock,
    onError: () => undefined,
    believer: {
      revoke: (subjects) => void revoked.push(subjects),
      proven: () => {
        looks += 1;
      },
    },
  });
  t.teardown(() => opened.close());
  t.strictSame(revoked, ['all'], 'of before the first look');
  await until(() => looks >= 2);
  t.equal(revoked.length, 1);
  await server.kill();
  await server.start();
  const before = looks;
  await until(() => looks > before + 1);
  t.strictSame(revoked, ['all', 'all'], 'once');
});
