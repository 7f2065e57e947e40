import { hash, verify } from 'argon2';
import t from 'tap';
import { requireAcceptable } from '../../src/credentials/password-policy.ts';
import { Turns } from '../../src/credentials/password-turns.ts';
import { type Hashing, openPasswords, type Passwords } from '../../src/credentials/passwords.ts';
import { Refusal } from '../../src/errors.ts';

const cheap = { memory: 1024 ** 2, iterations: 1, parallelism: 1 };
const password = 'a perfectly fine passphrase';

const verified = (passwords: Passwords, stored: string | undefined, text: string) =>
  passwords.inTurn((verify) => verify(stored, text));

const counting = () => {
  const calls = { hash: 0, verify: 0, storedSeen: [] as string[] };
  const hashing: Hashing = {
    hash: (text, options) => {
      calls.hash += 1;
      return hash(text, options);
    },
    verify: (stored, text) => {
      calls.verify += 1;
      calls.storedSeen.push(stored);
      return verify(stored, text);
    },
  };
  return { calls, hashing };
};

t.test('hashes with Argon2id and the configured parameters, and verifies', async (t) => {
  const passwords = await openPasswords(cheap);
  const stored = await passwords.hash(password);
  t.match(stored, /^\$argon2id\$v=19\$m=1024,p=1,t=1\$|^\$argon2id\$v=19\$m=1024,t=1,p=1\$/);
  t.same(await verified(passwords, stored, password), { matches: true, outdated: false });
  t.same(await verified(passwords, stored, `${password}!`), { matches: false, outdated: false });
});

t.test('the same password typed as composed or decomposed letters is the same', async (t) => {
  const passwords = await openPasswords(cheap);
  const stored = await passwords.hash('caf\u00e9 au lait, please');
  t.ok((await verified(passwords, stored, 'cafe\u0301 au lait, please')).matches);
});

t.test('an unknown user costs exactly one hash of the same parameters (attacks 32)', async (t) => {
  const { calls, hashing } = counting();
  const passwords = await openPasswords(cheap, hashing);
  const before = calls.verify;
  t.same(await verified(passwords, undefined, password), { matches: false, outdated: false });
  t.equal(calls.verify, before + 1);
  t.match(calls.storedSeen.at(-1), /\$m=1024,/);
});

t.test('a hash made with other parameters is found outdated, once the password is right', async (t) => {
  const stored = await (await openPasswords(cheap)).hash(password);
  const stronger = await openPasswords({ ...cheap, iterations: 2 });
  t.same(await verified(stronger, stored, password), { matches: true, outdated: true });
  t.same(await verified(stronger, stored, 'wrong'), { matches: false, outdated: false });
});

t.test('100 logins at once: two hash, 32 wait, the rest is refused at once (attacks 32)', async (t) => {
  let running = 0;
  let most = 0;
  const passwords = await openPasswords(cheap, {
    hash: async () => 'dummy',
    verify: async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 1));
      running -= 1;
      return false;
    },
  });
  const tries = Array.from({ length: 100 }, () => verified(passwords, undefined, password));
  const results = await Promise.allSettled(tries);
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
  t.equal(most, 2);
  t.equal(refused.length, 100 - 34);
  t.ok(refused.every((error) => error instanceof Refusal && error.code === 'overloaded'));
  t.ok(refused.every((error) => error.retryAfterSeconds === 1));
});

t.test('turns are given in order, and one that fails passes its turn on', async (t) => {
  const turns = new Turns(1, 10);
  const order: number[] = [];
  const work = (n: number) =>
    turns.run(async () => {
      order.push(n);
      if (n === 1) throw new Error('failed');
    });
  await Promise.allSettled([0, 1, 2, 3].map(work));
  t.same(order, [0, 1, 2, 3]);
  await work(4);
  t.same(order, [0, 1, 2, 3, 4]);
});

t.test('what may be set', async (t) => {
  const complaint = (text: string, username = 'alice') => {
    try {
      requireAcceptable(text, username, 'new_password');
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'validation_failed') throw error;
      t.notMatch(JSON.stringify(error), text.slice(0, 60), 'the password is not in the error');
      t.equal(error.errors?.[0]?.field, 'new_password');
      return error.errors?.[0]?.message;
    }
    return undefined;
  };
  t.equal(complaint(password), undefined);
  t.match(complaint('elevenchars'), /at least 12/);
  t.equal(complaint('twelve-chars'), undefined);
  t.match(complaint('long enough '.repeat(30)), /at most 256/);
  t.match(complaint('Password1234'), /guessed/);
  t.match(complaint('abababababababab'), /guessed/);
  t.match(complaint('for-Alice-only-1'), /username/);
  t.equal(complaint('to be or not to be', 'be'), undefined, 'a very short name proves nothing');
});
