import { sql } from 'kysely';
import t from 'tap';
import { IdentityDatabase } from '../../src/identity/database.ts';
import { toFirstVersion } from './first-version.ts';
import {
  bearer,
  createKey,
  createUser,
  keyLogIn,
  logIn,
  open,
  reason,
  refusal,
  tablesOf,
} from './fixture.ts';

t.test('a database that is gone is 503, for every kind of credential', async (t) => {
  const fixture = await open(t);
  await createUser(fixture, 'alice');
  const { key } = await createKey(fixture);
  const user = await logIn(fixture, 'alice');
  await fixture.identity.close();
  const tries = [
    () => bearer(fixture, key),
    () => bearer(fixture, user.access.text),
    () => keyLogIn(fixture, key),
    () => logIn(fixture, 'alice'),
    () => fixture.identity.grants.refresh(user.refresh.text),
    () => fixture.identity.users.toggle('x'),
    () => fixture.identity.setup(),
  ];
  for (const work of tries) {
    t.match(await refusal(work()), { code: 'store_unavailable', status: 503, retryAfterSeconds: 1 });
  }
});

t.test('what would clash with a row, or leans on one that is not there, is a conflict', async (t) => {
  const database = new IdentityDatabase(tablesOf(t, await open(t)), 'sqlite');
  const setup = { id: 1, done_at: 'now' };
  const write = () => database.run((tables) => tables.insertInto('setup').values(setup).execute());
  t.equal(await refusal(write()), undefined);
  t.match(await refusal(write()), { code: 'conflict', status: 409 });
  const session = {
    id: 'x',
    user_id: 'nobody',
    key_id: null,
    refresh_jti: '',
    created_at: '',
    refreshed_at: '',
    expires_at: '',
    ended_at: null,
    ended_reason: null,
  };
  const lean = database.transaction((tables) => tables.insertInto('sessions').values(session).execute());
  t.match(await refusal(lean), { code: 'conflict', status: 409 });
});

t.test('a mistake of ours is not dressed up as the database’s trouble', async (t) => {
  const database = new IdentityDatabase(tablesOf(t, await open(t)), 'sqlite');
  const wrong = database.run((tables) => sql`select * from nowhere`.execute(tables));
  await t.rejects(wrong, /nowhere/);
});

t.test('a key’s session from before a session knew its secret goes on, and ends with it', async (t) => {
  const before = await open(t);
  const { id, key } = await createKey(before);
  const { access, sessionId } = await keyLogIn(before, key);
  const tables = tablesOf(t, before);
  await toFirstVersion(tables, before.database.startsWith('sqlite:') ? 'sqlite' : 'postgres');
  const after = await open(t, before.database);
  t.equal(await reason(bearer(after, access.text)), undefined, sessionId);
  await after.identity.keys.rotate(id);
  t.equal(await reason(bearer(after, access.text)), 'revoked');
  t.equal((await after.identity.keys.get(id)).owner, null, 'a key from before belongs to nobody');
});
