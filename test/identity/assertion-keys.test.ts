import { KeyObject, verify } from 'node:crypto';
import { importJWK, type JWK } from 'jose';
import t, { type Test } from 'tap';
import { anonymous } from '../../src/exchange.ts';
import { everythingStored, type Fixture, open, tablesOf } from './fixture.ts';

const dayMs = 86_400_000;
const minuteMs = 60_000;
const old = 'an old secret of more than thirty-two bytes';
const young = 'a young secret of more than thirty-two bytes';
const under = (...hmac_keys: string[]) => ({ api_keys: { hmac_keys } });

let targets = 0;
/** A fresh assertion, of a target that nothing asked for before. */
function assertionOf({ identity }: Fixture): string {
  targets += 1;
  return identity.assertions.of({
    upstream: 'registry',
    method: 'GET',
    target: `/tools/${targets}`,
    principal: anonymous,
  });
}

const kidOf = (text: string): string =>
  JSON.parse(Buffer.from(text.split('.')[0] ?? '', 'base64url').toString()).kid;
const signerOf = (fixture: Fixture) => kidOf(assertionOf(fixture));
const publishedBy = ({ identity }: Fixture) => identity.jwks().map(({ kid }) => kid);

async function isSignedBy(jwks: readonly JWK[], text: string): Promise<boolean> {
  const jwk = jwks.find(({ kid }) => kid === kidOf(text));
  if (jwk === undefined) return false;
  const [head, payload, signature = ''] = text.split('.');
  const key = KeyObject.from((await importJWK(jwk, 'EdDSA')) as CryptoKey);
  return verify(null, Buffer.from(`${head}.${payload}`), key, Buffer.from(signature, 'base64url'));
}

/** Side by side over PostgreSQL; SQLite, where a second connection of one process would wait for itself, in turn. */
async function atOnce<T>(database: string, ...works: ReadonlyArray<() => Promise<T>>): Promise<T[]> {
  if (!database.startsWith('sqlite:')) return Promise.all(works.map((work) => work()));
  const results: T[] = [];
  for (const work of works) results.push(await work());
  return results;
}

/** Two gateways on one database, at one time. */
async function two(t: Test) {
  const first = await open(t, undefined, under(old));
  return { first, second: await open(t, first.database, under(old)) };
}

t.test('a second gateway signs with the first one’s key, and each verifies the other', async (t) => {
  const { first, second } = await two(t);
  t.equal(signerOf(first), signerOf(second));
  t.same(publishedBy(first), publishedBy(second));
  t.ok(await isSignedBy(first.identity.jwks(), assertionOf(second)));
});

t.test('five gateways that start at once end with one key', async (t) => {
  const { database } = await open(t, undefined, under(young));
  // None of them knows the first one's secret, so that each needs a new key at the same moment.
  const another = () => open(t, database, under(old));
  const gateways = await atOnce(database, another, another, another, another, another);
  t.equal(new Set(gateways.map(signerOf)).size, 1);
  for (const gateway of gateways) t.equal(publishedBy(gateway).length, 2);
});

t.test(
  'a key signs for thirty days; the next is published a quarter of an hour before it does',
  async (t) => {
    const fixture = await open(t);
    const { clock, identity } = fixture;
    const first = signerOf(fixture);
    clock.nowMs += 30 * dayMs - 16 * minuteMs;
    await identity.assertionKeys?.refresh();
    t.same(publishedBy(fixture), [first]);
    clock.nowMs += 2 * minuteMs;
    await identity.assertionKeys?.refresh();
    t.equal(publishedBy(fixture).length, 2, 'the next one is published');
    t.equal(signerOf(fixture), first, 'and does not sign yet');
    clock.nowMs += 14 * minuteMs;
    t.equal(signerOf(fixture), first);
    clock.nowMs += 2 * minuteMs;
    const second = signerOf(fixture);
    t.not(second, first);
    t.same(publishedBy(fixture).sort(), [first, second].sort(), 'the last one is published still');
    clock.nowMs += dayMs;
    t.same(publishedBy(fixture), [second]);
  },
);

t.test('of two gateways that need the next key, one makes it and the other takes it', async (t) => {
  const { first, second } = await two(t);
  for (const { clock } of [first, second]) clock.nowMs += 30 * dayMs - 10 * minuteMs;
  await atOnce(
    first.database,
    async () => first.identity.assertionKeys?.refresh(),
    async () => second.identity.assertionKeys?.refresh(),
  );
  await first.identity.assertionKeys?.refresh();
  t.equal(publishedBy(first).length, 2);
  t.same(publishedBy(first), publishedBy(second));
});

t.test('another secret makes another key, and the old one stays published', async (t) => {
  const before = await open(t, undefined, under(old));
  const first = signerOf(before);
  const after = await open(t, before.database, under(young));
  t.not(signerOf(after), first, 'it signs at once, for there is no other that could');
  t.same(publishedBy(after).sort(), [first, signerOf(after)].sort());
});

t.test('while the old secret is in the list its key signs on until the new one is known', async (t) => {
  const before = await open(t, undefined, under(old));
  const first = signerOf(before);
  const after = await open(t, before.database, under(young, old));
  t.equal(signerOf(after), first);
  t.equal(publishedBy(after).length, 2, 'the new one is published');
  after.clock.nowMs += 16 * minuteMs;
  t.not(signerOf(after), first);
});

t.test('where the old secret is left out before the new key was to sign, the new key signs', async (t) => {
  const before = await open(t, undefined, under(old));
  const first = signerOf(before);
  const between = await open(t, before.database, under(young, old));
  t.equal(signerOf(between), first, 'the control');
  const after = await open(t, before.database, under(young));
  t.not(signerOf(after), first);
  t.ok(publishedBy(between).includes(signerOf(after)), 'it was published before');
  t.equal(publishedBy(after).length, 2, 'and no third one is made');
});

t.test('gateways in the middle of a change of secrets make one key each and no more', async (t) => {
  const before = await open(t, undefined, under(old));
  const after = await open(t, before.database, under(young, old));
  for (let round = 0; round < 3; round += 1) {
    await before.identity.assertionKeys?.refresh();
    await after.identity.assertionKeys?.refresh();
  }
  t.equal(publishedBy(before).length, 2);
  t.ok(await isSignedBy(before.identity.jwks(), assertionOf(after)));
  t.ok(await isSignedBy(after.identity.jwks(), assertionOf(before)));
});

t.test('a stolen database signs nothing: no private key lies in it', async (t) => {
  const fixture = await open(t, undefined, under(old));
  const [row] = await tablesOf(t, fixture).selectFrom('assertion_keys').selectAll().execute();
  const stored = await everythingStored(t, fixture);
  t.ok(stored.includes(row?.sealed_private ?? 'no row'), 'the control');
  // RFC 8410: what every unencrypted Ed25519 key begins with.
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
  for (const form of ['latin1', 'base64', 'hex'] as const)
    t.notOk(stored.includes(prefix.toString(form).slice(0, 16)), form);
  t.notOk(stored.includes(old));
});

t.test('a database that goes away stops no signing', async (t) => {
  const fixture = await open(t);
  const first = signerOf(fixture);
  await tablesOf(t, fixture).schema.alterTable('assertion_keys').renameTo('gone').execute();
  await t.rejects(fixture.identity.assertionKeys?.refresh() ?? Promise.resolve());
  t.equal(signerOf(fixture), first);
});

t.test('outdated rows go when the next key is made', async (t) => {
  const fixture = await open(t);
  for (let month = 0; month < 4; month += 1) {
    fixture.clock.nowMs += 31 * dayMs;
    await fixture.identity.assertionKeys?.refresh();
  }
  const rows = await tablesOf(t, fixture).selectFrom('assertion_keys').selectAll().execute();
  t.ok(rows.length <= 2, `${rows.length}`);
});
