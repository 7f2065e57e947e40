import type { Kysely } from 'kysely';
import t from 'tap';
import type { IdentityTables } from '../../src/identity/tables.ts';
import {
  createUser,
  Endpoints,
  type Fixture,
  firstPage,
  open,
  password,
  refusal,
  tablesOf,
} from './fixture.ts';

const minuteMs = 60_000;
const dayMs = 86_400_000;
const home = '192.0.2.1';
const attacker = '203.0.113.9';

/** What a login ends as: `in`, or why not. */
async function tryLogin(
  { identity }: Fixture,
  username: string,
  from: string,
  secret = 'wrong',
): Promise<string> {
  const failed = await refusal(identity.users.authenticate(username, secret, from));
  return failed === undefined ? 'in' : (failed.reason ?? failed.code);
}

async function failTimes(fixture: Fixture, username: string, from: string, times: number): Promise<string[]> {
  const ends: string[] = [];
  for (let count = 0; count < times; count += 1) ends.push(await tryLogin(fixture, username, from));
  return ends;
}

const retryAfter = async ({ identity }: Fixture, username: string, from: string) =>
  (await refusal(identity.users.authenticate(username, 'wrong', from)))?.retryAfterSeconds;

t.test(
  'ten wrong passwords for one name lock their address out of it; the right one waits too',
  async (t) => {
    const fixture = await open(t);
    await createUser(fixture, 'alice');
    t.same(await failTimes(fixture, 'alice', attacker, 10), Array(10).fill('wrong_password'));
    const hashed = fixture.hashes.verify;
    const refused = await refusal(fixture.identity.users.authenticate('alice', password, attacker));
    t.match(refused, { code: 'too_many_failures', status: 429, reason: 'locked', retryAfterSeconds: 60 });
    t.equal(fixture.hashes.verify, hashed, 'nothing is hashed');
    fixture.clock.nowMs += minuteMs - 1;
    t.equal(await tryLogin(fixture, 'alice', attacker, password), 'locked');
    fixture.clock.nowMs += 1;
    t.equal(await tryLogin(fixture, 'alice', attacker, password), 'in');
  },
);

t.test('the tenth tells of an incident, and only that one', async (t) => {
  const fixture = await open(t);
  const incidents = [];
  for (let count = 0; count < 11; count += 1) {
    incidents.push((await refusal(fixture.identity.users.authenticate('nobody', 'x', attacker)))?.incident);
  }
  t.same(incidents, [...Array(9).fill(undefined), 'login_locked', undefined]);
});

t.test('a name that nobody has is locked alike', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const known = await failTimes(fixture, 'alice', attacker, 12);
  const unknown = await failTimes(fixture, 'nobody', attacker, 12);
  const outcome = (reason: string) => (reason === 'locked' ? 429 : 401);
  t.same(known.map(outcome), unknown.map(outcome));
  t.equal(await retryAfter(fixture, 'alice', attacker), await retryAfter(fixture, 'nobody', attacker));
});

t.test('a name is one name in any case', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  for (const name of ['alice', 'ALICE', 'Alice', 'aLICE', 'alicE'])
    await failTimes(fixture, name, attacker, 2);
  t.equal(await tryLogin(fixture, 'AlIcE', attacker), 'locked');
});

t.test(
  'a lock takes twice as long each time, up to the longest, and a day later the first again',
  async (t) => {
    const fixture = await open(t);
    const waits: (number | undefined)[] = [];
    for (let round = 0; round < 9; round += 1) {
      await failTimes(fixture, 'nobody', attacker, 10);
      waits.push(await retryAfter(fixture, 'nobody', attacker));
      // The other lock, of all addresses together, is not what this is about.
      await tablesOf(t, fixture).deleteFrom('login_locks').where('address', '=', '').execute();
      fixture.clock.nowMs += (waits.at(-1) ?? 0) * 1000;
    }
    t.same(waits, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600]);
    fixture.clock.nowMs += dayMs;
    await failTimes(fixture, 'nobody', attacker, 10);
    t.equal(await retryAfter(fixture, 'nobody', attacker), 60);
  },
);

t.test('a right password makes up for the wrong ones before it', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  for (let round = 0; round < 3; round += 1) {
    await failTimes(fixture, 'alice', home, 9);
    t.equal(await tryLogin(fixture, 'alice', home, password), 'in');
  }
});

t.test('of a hundred wrong ones at once no more are tried than one by one', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const before = fixture.hashes.verify;
  const ends = await Promise.all(Array.from({ length: 100 }, () => tryLogin(fixture, 'alice', attacker)));
  const hashed = fixture.hashes.verify - before;
  t.ok(hashed >= 10 && hashed <= 11, `${hashed} hashes: the two at once may go one over`);
  t.equal(ends.filter((end) => end === 'wrong_password').length, hashed);
  t.ok(ends.every((end) => ['wrong_password', 'locked', 'overloaded'].includes(end)));
});

t.test('the addresses of an IPv6 /64 are one', async (t) => {
  const fixture = await open(t);
  for (let host = 1; host <= 10; host += 1) await tryLogin(fixture, 'nobody', `2001:db8:0:1::${host}`);
  t.equal(await tryLogin(fixture, 'nobody', '2001:db8:0:1:ffff::1'), 'locked');
  t.equal(await tryLogin(fixture, 'nobody', '2001:db8:0:2::1'), 'unknown_user');
});

t.test('attack 32: ten addresses try one admin; the admin logs in at once where known', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'root', { is_admin: true });
  t.equal(await tryLogin(fixture, 'root', home, password), 'in');
  for (let host = 1; host <= 10; host += 1) await failTimes(fixture, 'root', `203.0.113.${host}`, 12);
  t.equal(await tryLogin(fixture, 'root', '203.0.113.1'), 'locked');
  t.equal(await tryLogin(fixture, 'root', home, password), 'in');
});

t.test('and at a new address after one wait, however many go on trying', async (t) => {
  const fixture = await open(t);
  const cafe = '198.51.100.77';
  await createUser(fixture, 'root', { is_admin: true });
  const attack = async (from: number) => {
    for (let host = from; host < from + 10; host += 1)
      await failTimes(fixture, 'root', `203.0.113.${host}`, 12);
  };
  await attack(1);
  const refused = await refusal(fixture.identity.users.authenticate('root', password, cafe));
  t.match(refused, { code: 'too_many_failures', reason: 'new_address', retryAfterSeconds: 30 });
  for (let second = 0; second < 30; second += 1) {
    t.equal(await tryLogin(fixture, 'root', cafe, password), 'new_address');
    fixture.clock.nowMs += 1_000;
    if (second % 10 === 0) await attack(20 + second);
  }
  t.equal(await tryLogin(fixture, 'root', cafe, password), 'in');
  await attack(100);
  t.equal(await tryLogin(fixture, 'root', cafe, password), 'in', 'from now on it is known');
  t.equal(await tryLogin(fixture, 'root', '203.0.113.250'), 'new_address', 'a new one is not');
});

t.test(
  'a wait is kept for the whole /48: whoever owns one cannot push others’ waits out of memory',
  async (t) => {
    const fixture = await open(t);
    await createUser(fixture, 'root', { is_admin: true });
    for (let host = 1; host <= 5; host += 1) await failTimes(fixture, 'root', `203.0.113.${host}`, 10);
    t.equal(await tryLogin(fixture, 'root', '2001:db8:1:1::1', password), 'new_address');
    fixture.clock.nowMs += 30_000;
    t.equal(await tryLogin(fixture, 'root', '2001:db8:2:1::1', password), 'new_address', 'another /48 waits');
    t.equal(
      await tryLogin(fixture, 'root', '2001:db8:1:2::1', password),
      'in',
      'another /64 of it has waited',
    );
  },
);

t.test('nobody finds out who exists by it: all of that is the same for a name nobody has', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'root', { is_admin: true });
  const seen = async (name: string) => {
    const answers = [];
    for (let host = 1; host <= 10; host += 1) {
      for (let count = 0; count < 12; count += 1) {
        const failed = await refusal(fixture.identity.users.authenticate(name, 'wrong', `203.0.113.${host}`));
        answers.push([failed?.status, failed?.detail, failed?.retryAfterSeconds]);
      }
    }
    return answers;
  };
  t.same(await seen('root'), await seen('nobody'));
});

t.test('an address is known for ninety days, and a user has twenty at most', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const underAttack = async () => {
    for (let host = 1; host <= 5; host += 1) await failTimes(fixture, 'alice', `203.0.113.${host}`, 10);
  };
  for (let host = 1; host <= 21; host += 1) {
    t.equal(await tryLogin(fixture, 'alice', `192.0.2.${host}`, password), 'in');
    fixture.clock.nowMs += 1;
  }
  await underAttack();
  t.equal(await tryLogin(fixture, 'alice', '192.0.2.21', password), 'in');
  t.equal(await tryLogin(fixture, 'alice', '192.0.2.1', password), 'new_address', 'the oldest is forgotten');
  fixture.clock.nowMs += 91 * dayMs;
  await underAttack();
  t.equal(await tryLogin(fixture, 'alice', '192.0.2.20', password), 'new_address');
});

t.test('a second program on the database holds to the lock, and its admin lifts it', async (t) => {
  const one = await open(t);
  const other = await open(t, one.database);
  const { id } = await createUser(one, 'alice');
  await failTimes(one, 'alice', attacker, 10);
  t.equal(await tryLogin(other, 'alice', attacker), 'locked');
  await other.identity.users.unlock(id);
  t.equal(await tryLogin(one, 'alice', attacker, password), 'in');
});

t.test('an admin sees a lock with the user, and lifts it in three ways', async (t) => {
  const fixture = await open(t);
  const { users } = fixture.identity;
  const { id } = await createUser(fixture, 'alice');
  fixture.clock.nowMs += 1; // the list is by age
  await createUser(fixture, 'bob');
  const ways = [
    () => users.toggle(id, true),
    () => users.resetPassword(id, password),
    () => users.unlock(id),
  ];
  for (const lift of ways) {
    await failTimes(fixture, 'alice', attacker, 10);
    const locked = { locked_until: '2030-01-01T00:01:00.001Z', locked_addresses: 1 };
    t.match((await users.list(firstPage)).items, [locked, { locked_until: null, locked_addresses: 0 }]);
    t.match(await users.get(id), locked);
    await lift();
    t.match(await users.get(id), { locked_until: null, locked_addresses: 0 });
    t.equal(await tryLogin(fixture, 'alice', attacker, password), 'in');
  }
});

t.test('a lock that is over is shown no more', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  await failTimes(fixture, 'alice', attacker, 10);
  fixture.clock.nowMs += minuteMs;
  t.match(await fixture.identity.users.get(id), { locked_until: null, locked_addresses: 0 });
});

t.test('whoever holds a token cannot guess the password with it', async (t) => {
  const fixture = await open(t);
  const { id } = await createUser(fixture, 'alice');
  const change = (clientAddress: string, current: string) =>
    refusal(
      fixture.identity.users.changePassword({
        id,
        current,
        next: 'another fine passphrase',
        clientAddress,
        sessionId: undefined,
      }),
    );
  for (let count = 0; count < 10; count += 1) {
    t.equal((await change(attacker, 'wrong'))?.code, 'validation_failed');
  }
  t.match(await change(attacker, password), { code: 'too_many_failures', reason: 'locked' });
  t.equal(await change(home, password), undefined);
});

/** Rows of what nobody did, a thousand at a time. */
async function addLocks(tables: Kysely<IdentityTables>, count: number, until: string): Promise<void> {
  const rows = Array.from({ length: count }, (_, index) => ({
    id: `${until} ${index}`,
    name_digest: `${index}`,
    address: until,
    level: 1,
    locked_until: until,
  }));
  for (let from = 0; from < count; from += 1_000) {
    await tables
      .insertInto('login_locks')
      .values(rows.slice(from, from + 1_000))
      .execute();
  }
}

t.test('the locks kept are bounded: forgotten ones go, then those soonest over', async (t) => {
  const fixture = await open(t);
  const tables = tablesOf(t, fixture);
  await addLocks(tables, 50, '2029-12-30T00:00:00.000Z');
  await addLocks(tables, 10_050, '2030-01-01T00:30:00.000Z');
  await failTimes(fixture, 'nobody', attacker, 10);
  const all = () => tables.selectFrom('login_locks').selectAll().execute();
  t.equal((await all()).length, 10_000);
  fixture.clock.nowMs += minuteMs;
  await failTimes(fixture, 'nobody', attacker, 10);
  const left = await all();
  t.equal(left.filter(({ locked_until }) => locked_until < '2030').length, 0);
  t.equal(left.filter(({ level }) => level === 2).length, 1, 'the newest stays');
});

t.test('neither a name that somebody tried nor its password lies in the table', async (t) => {
  const fixture = await open(t);
  await failTimes(fixture, 'my-password-by-mistake', attacker, 10);
  const rows = JSON.stringify(await tablesOf(t, fixture).selectFrom('login_locks').selectAll().execute());
  t.match(rows, attacker);
  t.notMatch(rows, 'my-password');
});

t.test('over HTTP an incident and its reason are told, and the caller learns nothing', async (t) => {
  const fixture = await open(t);
  const endpoints = new Endpoints(fixture);
  const body = { username: 'nobody', password: 'wrong' };
  const call = () => refusal(endpoints.call('POST /auth/login', { body, address: attacker }));
  for (let count = 0; count < 9; count += 1) await call();
  t.match(await call(), { code: 'invalid_credential', incident: 'login_locked' });
  const locked = await call();
  t.match(locked, { code: 'too_many_failures', reason: 'locked' });
  t.notMatch(locked?.detail, /user|name|nobody/i);
  t.equal(endpoints.failures.records, 10, 'a locked try takes nothing from the address');
});
