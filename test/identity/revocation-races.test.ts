/** Whatever happens at once: what was revoked before a request came is not accepted, and what was given is. */
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  type BelievingFixture,
  createKey,
  createUser,
  keyLogIn,
  logIn,
  openBelieving,
  reason,
} from './fixture.ts';

/** Somebody's rights as the last change that was answered has left them; while one is under way nothing is known. */
interface Rights {
  readonly credentials: readonly string[];
  /** Whether the holder may read, update; `undefined` is whoever may not come in at all. */
  state: { readonly read: boolean; readonly update: boolean } | undefined | 'changing';
  /** Counts the changes, begun and ended. */
  version: number;
  readonly set: (state: { read: boolean; update: boolean } | undefined) => Promise<unknown>;
}

async function keyRights(fixture: BelievingFixture): Promise<Rights> {
  const { id, key } = await createKey(fixture, { can_read: true });
  const { keys } = fixture.identity;
  return {
    credentials: [key],
    state: { read: true, update: false },
    version: 0,
    set: async (state) => {
      if (state === undefined) return keys.toggle(id, false);
      await keys.patch(id, { can_read: state.read, can_update: state.update });
      return keys.toggle(id, true);
    },
  };
}

/** A user's tokens: they stay while the user is there, whatever it may do. */
async function userRights(fixture: BelievingFixture, name: string): Promise<Rights> {
  const { id } = await createUser(fixture, name, { can_read: true });
  const { access } = await logIn(fixture, name);
  return {
    credentials: [access.text],
    state: { read: true, update: false },
    version: 0,
    set: (state) =>
      fixture.identity.users.patch(id, {
        can_read: state?.read ?? false,
        can_update: state?.update ?? false,
      }),
  };
}

type Step = readonly [who: number, read: boolean, update: boolean, isOut: boolean, pauseMs: number];

const steps = fc.array(fc.tuple(fc.nat(3), fc.boolean(), fc.boolean(), fc.boolean(), fc.nat(3)), {
  minLength: 10,
  maxLength: 25,
});

async function change(rights: Rights, [, read, update, isOut]: Step): Promise<void> {
  // One at a time for each holder, or nobody could say what holds afterwards.
  if (rights.state === 'changing') return;
  const isUser = rights.credentials[0]?.includes('.') === true;
  const next = isOut && !isUser ? undefined : { read, update };
  rights.state = 'changing';
  rights.version += 1;
  await rights.set(next);
  rights.state = next;
  rights.version += 1;
}

/** @returns what was wrong, if anything */
async function ask(
  fixture: BelievingFixture,
  rights: Rights,
  credential: string,
): Promise<string | undefined> {
  const { state, version } = rights;
  let seen: string;
  try {
    const { permissions } = await fixture.present(credential);
    seen = `${permissions.has('read')} ${permissions.has('update')}`;
  } catch (error) {
    seen = (await reason(Promise.reject(error))) ?? 'fault';
  }
  if (state === 'changing' || version !== rights.version) return undefined;
  const expected = state === undefined ? 'disabled' : `${state.read} ${state.update}`;
  return seen === expected ? undefined : `${seen} in place of ${expected}`;
}

async function askOn(
  fixture: BelievingFixture,
  all: readonly Rights[],
  done: { value: boolean },
  wrong: string[],
): Promise<void> {
  for (let round = 0; !done.value && round < 100_000; round += 1) {
    const rights = all[round % all.length] as Rights;
    for (const credential of rights.credentials) {
      const found = await ask(fixture, rights, credential);
      if (found !== undefined) wrong.push(found);
    }
    if (round % 3 === 0) await turn();
  }
}

async function race(t: Test, given: readonly Step[]): Promise<void> {
  const fixture = await openBelieving(t);
  const all = [
    await keyRights(fixture),
    await keyRights(fixture),
    await userRights(fixture, 'alice'),
    await userRights(fixture, 'bob'),
  ];
  const done = { value: false };
  const wrong: string[] = [];
  const asking = Array.from({ length: 8 }, () => askOn(fixture, all, done, wrong));
  const changing: Promise<void>[] = [];
  for (const step of given) {
    changing.push(change(all[step[0]] as Rights, step));
    await delay(step[4]);
  }
  await Promise.all(changing);
  await delay(5);
  done.value = true;
  await Promise.all(asking);
  t.strictSame(wrong, []);
  hits += fixture.verified.counts.hit;
  if (wrong.length > 0) throw new Error(wrong[0]);
}

/** In all races together. */
let hits = 0;

t.test('random changes beside random requests', async (t) => {
  await fc.assert(
    fc.asyncProperty(steps, (given) => race(t, given)),
    { numRuns: 12, endOnFailure: true },
  );
  t.ok(hits > 0, 'much came from memory');
});

t.test('what is revoked is refused by the very next request, whatever was under way', async (t) => {
  const fixture = await openBelieving(t);
  for (let round = 0; round < 100; round += 1) {
    const { id, key } = await createKey(fixture);
    const { access } = await keyLogIn(fixture, key);
    // Under way while it is revoked: some have read the row before.
    const before = Array.from({ length: 5 }, () =>
      [key, access.text].map((text) => reason(fixture.present(text))),
    ).flat();
    if (round % 2 === 0) await turn();
    await fixture.identity.keys.toggle(id, false);
    const after = [key, access.text].map((text) => reason(fixture.present(text)));
    for (const found of await Promise.all(after)) if (found === undefined) t.fail(`round ${round}`);
    await Promise.all(before);
    for (const text of [key, access.text])
      if ((await reason(fixture.present(text))) === undefined) t.fail(`round ${round}, kept`);
  }
  t.pass();
});
