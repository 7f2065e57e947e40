import t, { type Test } from 'tap';
import type { IdentityDatabase } from '../../src/identity/database.ts';
import { KeyUse } from '../../src/identity/key-use.ts';
import { openTables } from '../../src/identity/open.ts';
import { keyUseBatchRows } from '../../src/limits.ts';
import { parseDatabaseUrl } from '../../src/sql/url.ts';
import { createKey, open } from './fixture.ts';

/** So many keys, and their uses noted; `run` is what each statement goes through. */
async function withKeys(
  t: Test,
  count: number,
  around: (run: () => Promise<unknown>) => Promise<unknown> = (run) => run(),
) {
  const fixture = await open(t);
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1)
    ids.push((await createKey(fixture, { name: `key ${index}` })).id);
  const opened = await openTables(parseDatabaseUrl(fixture.database), {
    clock: fixture.clock,
    onError: () => undefined,
  });
  t.teardown(() => opened.close());
  const statements: number[] = [];
  const database: Pick<IdentityDatabase, 'run'> = {
    run: <T>(work: Parameters<IdentityDatabase['run']>[0]) => {
      statements.push(statements.length);
      return around(() => opened.database.run(work)) as Promise<T>;
    },
  };
  const errors: unknown[] = [];
  const use = new KeyUse(database, fixture.clock, (error) => errors.push(error));
  const usedAt = async (id: string) => (await fixture.identity.keys.get(id)).last_used_at;
  return { fixture, ids, use, usedAt, statements, errors };
}

t.test('the uses of many keys are written with few statements, all of them by the end', async (t) => {
  const count = 2 * keyUseBatchRows + 1;
  const { ids, use, usedAt, statements, errors } = await withKeys(t, count);
  for (const id of ids) use.note(id);
  t.equal(statements.length, 0, 'no request waits for the database');
  await use.close();
  t.equal(statements.length, 3);
  t.same(errors, []);
  const written = await Promise.all(ids.map(usedAt));
  t.same([...new Set(written)], ['2030-01-01T00:00:00.000Z']);
});

t.test('a key that is used again and again within a minute is written once, with its last use', async (t) => {
  const { fixture, ids, use, usedAt, statements } = await withKeys(t, 2);
  const [first = '', second = ''] = ids;
  use.note(first);
  await until(async () => (await usedAt(first)) !== null);
  for (let seconds = 0; seconds < 50; seconds += 1) {
    fixture.clock.nowMs += 1_000;
    use.note(second);
    await new Promise(setImmediate);
  }
  t.equal(statements.length, 1);
  t.equal(await usedAt(second), null);
  await use.close();
  t.equal(statements.length, 2);
  t.equal(await usedAt(second), '2030-01-01T00:00:50.000Z');
});

t.test('what could not be written is told, and written with the next round', async (t) => {
  let isAway = true;
  const { fixture, ids, use, usedAt, errors } = await withKeys(t, 1, async (run) => {
    if (isAway) throw new Error('away');
    return run();
  });
  const [id = ''] = ids;
  use.note(id);
  await until(async () => errors.length === 1);
  isAway = false;
  fixture.clock.nowMs += 60_000;
  await use.close();
  t.equal(await usedAt(id), '2030-01-01T00:00:00.000Z');
});

t.test('a database that is away at the end does not keep the process', async (t) => {
  const { ids, use, errors } = await withKeys(t, 1, async () => {
    throw new Error('away');
  });
  use.note(ids[0] ?? '');
  await use.close();
  t.equal(errors.length, 1);
});

t.test('a key that is gone by then is nobody', async (t) => {
  const { fixture, ids, use, errors } = await withKeys(t, 2);
  const [gone = '', stays = ''] = ids;
  use.note(gone);
  use.note(stays);
  await fixture.identity.keys.delete(gone);
  await use.close();
  t.same(errors, []);
  t.equal((await fixture.identity.keys.get(stays)).last_used_at, '2030-01-01T00:00:00.000Z');
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('it never came about');
}
