import t from 'tap';
import type { WallMs } from '../../src/clock.ts';
import type { Verified } from '../../src/credentials/credential.ts';
import { never, VerifiedCredentials } from '../../src/credentials/verified.ts';
import { Refusal } from '../../src/errors.ts';
import type { Principal } from '../../src/exchange.ts';
import { FakeClock } from '../support/fake-clock.ts';

function open({ entriesMax = 100, stalenessMaxMs = 1_000 } = {}) {
  const clock = new FakeClock();
  const verified = new VerifiedCredentials({ clock, entriesMax, stalenessMaxMs });
  verified.proven(clock.monotonicMs());
  return { clock, verified };
}

const key = (text: string) => ({ authType: 'ApiKey', text }) as const;
const token = (text: string) => ({ authType: 'Bearer', text }) as const;
const principal = (subject: string, kind: Principal['kind'] = 'key'): Principal => ({
  kind,
  subject,
  authType: 'ApiKey',
  permissions: new Set(['read']),
});

/** A credential of a subject that verifies, and how often it had to. */
function good(subject: string, more: Partial<Verified> = {}) {
  const counted = { times: 0 };
  const read = {
    credentialId: undefined,
    verify: async () => {
      counted.times += 1;
      return { principal: principal(subject), endsAt: never, ...more };
    },
  };
  return { counted, read };
}

/** One whose verification ends when the test says so. */
function slow(subject: string) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { counted, read } = good(subject);
  const verify = async () => {
    const found = await read.verify();
    await promise;
    return found;
  };
  return { counted, read: { credentialId: undefined, verify }, finish: resolve };
}

t.test('what verified is found without a promise, and only as it was presented', async (t) => {
  const { verified } = open();
  t.equal(verified.find(key('a')), undefined);
  const found = await verified.verify(key('a'), good('key:1').read);
  t.equal(verified.find(key('a')), found);
  t.equal(verified.find(token('a')), undefined, 'not in the other header');
  t.equal(verified.find(key('A')), undefined);
  t.strictSame(verified.counts, { hit: 1, miss: 3, stale: 0 });
});

t.test('failures are not kept, and so drive nothing out', async (t) => {
  const { verified } = open({ entriesMax: 2 });
  await verified.verify(key('a'), good('key:1').read);
  for (let index = 0; index < 100; index += 1) {
    const bad = {
      credentialId: undefined,
      verify: async () => {
        throw new Refusal('invalid_credential', { reason: 'unknown_key' });
      },
    };
    await t.rejects(verified.verify(key(`bad${index}`), bad), { code: 'invalid_credential' });
  }
  t.ok(verified.find(key('a')));
});

t.test('it is bounded: the least recently used goes', async (t) => {
  const { verified } = open({ entriesMax: 2 });
  for (const text of ['a', 'b']) await verified.verify(key(text), good(`key:${text}`).read);
  verified.find(key('a'));
  await verified.verify(key('c'), good('key:c').read);
  t.strictSame(
    ['a', 'b', 'c'].map((text) => verified.find(key(text)) !== undefined),
    [true, false, true],
  );
});

t.test('of many at once one does the work', async (t) => {
  const { verified } = open();
  const { counted, read, finish } = slow('key:1');
  const all = Array.from({ length: 50 }, () => verified.verify(key('a'), read));
  finish();
  t.equal(new Set(await Promise.all(all)).size, 1);
  t.equal(counted.times, 1);
});

t.test('a failure that many waited for is each one’s, and the next asks anew', async (t) => {
  const { verified } = open();
  let times = 0;
  const read = {
    credentialId: undefined,
    verify: async () => {
      times += 1;
      throw new Refusal('store_unavailable');
    },
  };
  const all = [1, 2, 3].map(() => verified.verify(key('a'), read));
  for (const { status } of await Promise.allSettled(all)) t.equal(status, 'rejected');
  t.equal(times, 1);
  await t.rejects(verified.verify(key('a'), read));
  t.equal(times, 2);
});

t.test('a revocation takes all of a subject’s, and nobody else’s', async (t) => {
  const { verified } = open();
  for (const text of ['a', 'b']) await verified.verify(key(text), good('key:1').read);
  await verified.verify(key('c'), good('key:2').read);
  const found = () => ['a', 'b', 'c'].map((text) => verified.find(key(text)) !== undefined);
  verified.revoke(['key:1', 'key:unknown']);
  t.strictSame(found(), [false, false, true]);
  await verified.verify(key('a'), good('key:1').read);
  t.strictSame(found(), [true, false, true]);
  verified.revoke('all');
  t.strictSame(found(), [false, false, false]);
});

t.test('a subject whose last entry was driven out can be revoked when it is back', async (t) => {
  const { verified } = open({ entriesMax: 1 });
  for (const [text, subject] of [
    ['a', 'key:1'],
    ['b', 'key:2'],
    ['a', 'key:1'],
  ] as const)
    await verified.verify(key(text), good(subject).read);
  verified.revoke(['key:1']);
  t.equal(verified.find(key('a')), undefined);
});

t.test('what began to be verified before a revocation is not kept after it, nor joined', async (t) => {
  const { verified } = open();
  const before = slow('key:1');
  const begun = verified.verify(key('a'), before.read);
  verified.revoke(['key:1']);
  const after = good('key:1');
  await verified.verify(key('a'), after.read);
  t.equal(after.counted.times, 1, 'it did not wait for the one before');
  verified.revoke(['key:1']);
  before.finish();
  await begun;
  t.equal(verified.find(key('a')), undefined);
});

t.test('an older verification that ends later does not end the joining of a newer one', async (t) => {
  const { verified } = open();
  const before = slow('key:1');
  const begun = verified.verify(key('a'), before.read);
  verified.revoke(['key:1']);
  const after = slow('key:1');
  const newer = [verified.verify(key('a'), after.read)];
  before.finish();
  await begun;
  newer.push(verified.verify(key('a'), after.read));
  after.finish();
  await Promise.all(newer);
  t.equal(after.counted.times, 1);
});

t.test('it ends when it says so, to the millisecond', async (t) => {
  const { verified, clock } = open({ stalenessMaxMs: 1_000_000 });
  const endsAt = (clock.wallMs() + 5_000) as WallMs;
  await verified.verify(key('a'), good('key:1', { endsAt }).read);
  clock.nowMs += 4_999;
  t.ok(verified.find(key('a')));
  clock.nowMs += 1;
  t.equal(verified.find(key('a')), undefined);
  await verified.verify(key('b'), good('key:1', { endsAt: clock.wallMs() }).read);
  t.equal(verified.find(key('b')), undefined, 'one that has ended is not kept');
});

t.test('it ends with the keys that proved it', async (t) => {
  const { verified } = open();
  let holds = true;
  await verified.verify(token('a'), good('user:1', { holds: () => holds }).read);
  t.ok(verified.find(token('a')));
  holds = false;
  t.equal(verified.find(token('a')), undefined);
  holds = true;
  t.equal(verified.find(token('a')), undefined, 'for good');
});

t.test('each use but the first is told', async (t) => {
  const { verified } = open();
  let uses = 0;
  await verified.verify(key('a'), good('key:1', { used: () => (uses += 1) }).read);
  for (let index = 0; index < 3; index += 1) verified.find(key('a'));
  t.equal(uses, 3);
});

t.test(
  'past the staleness bound what the database said is not believed, until it is proven again',
  async (t) => {
    const { verified, clock } = open();
    await verified.verify(key('a'), good('key:1').read);
    const external = { principal: principal('corp:x', 'external') };
    await verified.verify(token('b'), good('corp:x', external).read);
    clock.nowMs += 999;
    t.ok(verified.find(key('a')));
    clock.nowMs += 1;
    t.equal(verified.find(key('a')), undefined);
    t.equal(verified.counts.stale, 1);
    t.ok(verified.find(token('b')), 'of an external token the database says nothing');
    verified.proven(clock.monotonicMs());
    t.ok(verified.find(key('a')));
  },
);

t.test('before the database was ever read, nothing of it is believed', async (t) => {
  const verified = new VerifiedCredentials({ clock: new FakeClock(), entriesMax: 1, stalenessMaxMs: 1_000 });
  await verified.verify(key('a'), good('key:1').read);
  t.equal(verified.find(key('a')), undefined);
});
