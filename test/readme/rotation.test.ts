/** Each rotation as the README prints it, beside a gateway that is used: what goes on, and when the old one ends. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { block, command, readmeBlocks } from '../support/readme.ts';
import { until } from '../support/redis.ts';
import { Place } from './shell.ts';

const shipped = readFileSync('gateway.yaml', 'utf8');

interface KeySet {
  readonly keys: ReadonlyArray<{ readonly kid: string }>;
}

const kidsOf = ({ keys }: KeySet) => keys.map(({ kid }) => kid);
const publishedBy = async ({ operations }: Place) =>
  kidsOf((await (await fetch(`${operations}/.well-known/jwks.json`)).json()) as KeySet);
const kidOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()).kid as string;
const without = (env: NodeJS.ProcessEnv, ...names: string[]) =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name)));

t.test('the secrets of tokens and API keys: those of before work until they are left out', async (t) => {
  const place = new Place(t);
  await place.start();
  const token = await place.logIn();
  const other = await place.shell('portcullis key create --name other --permissions read --json');
  const otherKey: string = JSON.parse(other.stdout).key;
  const [assertionKey = ''] = await publishedBy(place);

  const rotated = await place.shellExporting(block('rotate-secrets'));
  t.equal(rotated.exitCode, 0, rotated.stderr);
  await place.stop();
  place.env = rotated.env;
  await place.start();
  t.equal(await place.status(), 200, 'a key sealed with the old secret');
  t.equal(await place.status(token), 200, 'a token signed with the old secret');
  const newToken = await place.logIn();
  t.not(kidOf(newToken), kidOf(token), 'the new one signs');
  const published = await publishedBy(place);
  t.ok(published.includes(assertionKey), 'assertions of before can be verified');
  t.equal(published.length, 2, 'and those of now, by a key that nobody with the old secret can open');

  const rotate = command('portcullis key rotate ID --overlap 1h');
  const fresh = await place.shell(`${rotate.replace('ID', place.key.slice(4, 16))} --json`);
  t.equal(fresh.exitCode, 0, fresh.stderr);
  const freshKey: string = JSON.parse(fresh.stdout).key;
  t.strictSame([await place.status(), await place.status(freshKey)], [200, 200], 'both secrets of the key');
  const list = await place.shell(command('key list --json').replace(/^/, 'portcullis '));
  const rotatedAt = (name: string) =>
    (JSON.parse(list.stdout).items as Array<{ name: string; rotated_at: string | null }>).find(
      (item) => item.name === name,
    )?.rotated_at;
  t.match(rotatedAt('default'), /^2\d{3}-/, 'which is told of the key that was rotated');
  t.equal(rotatedAt('other'), null, 'and of the one that keeps the old secret in use');

  await place.stop();
  place.env = without(place.env, 'SECRET_KEY_OTHER_FILE', 'API_KEY_HMAC_KEY_OTHER_FILE');
  await place.start();
  t.strictSame(
    [await place.status(freshKey), await place.status(newToken)],
    [200, 200],
    'what the new secrets made',
  );
  t.strictSame([await place.status(otherKey), await place.status(token)], [401, 401], 'and nothing else');
});

t.test('the key files of tokens: no token is refused until its key was taken away', async (t) => {
  const example = readmeBlocks.find(({ language, text }) => language === 'yaml' && /^ {4}keys: /m.test(text));
  const files: Array<{ file: string }> = parse(example?.text ?? '').auth.tokens.keys;
  t.strictSame(
    files.map(({ file }) => file.replace(/.*\//, '')),
    ['current.pem', 'other.pem'],
  );
  const place = new Place(t);
  const made = await place.shell(block('token-keys'));
  t.equal(made.exitCode, 0, made.stderr);
  const keys =
    /^ {4}keys: .*$/m.exec(example?.text ?? '')?.[0].replaceAll('/run/keys', place.directory) ?? '';
  place.write('gateway.yaml', shipped.replace(/^ {4}secrets: .*$/m, keys));
  await place.start();
  const before = await place.logIn();
  const [announce = '', change = '', end = ''] = block('rotate-token-keys').split(/^(?=# \d\.)/m);

  t.equal((await publishedBy(place)).length, 2, 'one for tokens, one for assertions');
  const announced = await place.shell(announce);
  t.equal(announced.exitCode, 0, announced.stderr);
  const published = kidsOf(JSON.parse(announced.stdout));
  t.equal(published.length, 3, 'the next one is published when the wait is over');
  t.equal(kidOf(await place.logIn()), kidOf(before), 'and signs nothing yet');

  t.equal((await place.shell(change)).exitCode, 0);
  const after = async () => kidOf(await place.logIn());
  await until(async () => (await after()) !== kidOf(before));
  t.ok(published.includes(await after()), 'the one that was announced signs');
  t.equal(await place.status(before), 200, 'a token of before');

  t.equal((await place.shell(end)).exitCode, 0);
  await until(async () => (await place.status(before)) === 401);
  t.equal(await place.status(await place.logIn()), 200);
});

t.test(
  'the key of the audit log: the old log is proven by the old key, the new one by the new',
  async (t) => {
    const place = new Place(t);
    await place.start();
    t.equal(await place.status(), 200);
    await place.stop();
    const moved = await place.shell(block('rotate-audit-key'));
    t.equal(moved.exitCode, 0, moved.stderr);
    t.notOk(existsSync(join(place.directory, 'data/audit-signing.key')), 'the old private key is gone');
    await place.start();
    t.equal(await place.status(), 200);
    await place.stop();
    const verifyOld = command('npx --no portcullis audit verify "$OLD');
    place.env = {
      ...place.env,
      OLD: readdirSync(place.directory).find((name) => name.startsWith('old-log.')),
    };
    t.match(await place.shell(verifyOld), { exitCode: 0, stdout: /every record is proven/ });
    t.match(await place.shell('portcullis audit verify'), { exitCode: 0, stdout: /every record is proven/ });
    t.match(
      await place.shell('portcullis audit verify audit.log --key "$OLD/audit.pub"'),
      { exitCode: 1 },
      'the new log is not the old key’s',
    );
  },
);
