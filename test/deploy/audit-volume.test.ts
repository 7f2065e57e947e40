/** The volume of a replicated pod's audit log, against what the log takes with the settings that the pod is given. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/load.ts';
import { startTestGateway } from '../support/gateway.ts';
import { until } from '../support/redis.ts';
import { render } from './kubernetes.ts';
import { podSpecOf } from './references.ts';

const pod = podSpecOf(render('replicated'));
const gatewayEnv = pod.initContainers?.find(({ name }) => name === 'portcullis')?.env as
  | ReadonlyArray<{ readonly name: string; readonly value?: string }>
  | undefined;
const keep = gatewayEnv?.find(({ name }) => name === 'AUDIT_LOG_KEEP')?.value ?? '';
const shipped = readFileSync('gateway.yaml', 'utf8');

const mebibyte = 1024 ** 2;

/** Of the volume that holds the audit log. */
function sizeLimitBytes(): number {
  const state = pod.volumes?.find(({ name }) => name === 'state')?.emptyDir as
    | { sizeLimit?: string }
    | undefined;
  return Number(/^(\d+)Mi$/.exec(state?.sizeLimit ?? '')?.[1]) * mebibyte;
}

/** What lies below a folder; a file that goes away meanwhile counts nothing. */
function bytesBelow(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0)
    .reduce((sum, bytes) => sum + bytes, 0);
}

t.test('the audit log with its index never takes more files than the volume has room for', async (t) => {
  const { config } = parseConfig(shipped, { file: 'gateway.yaml', env: { AUDIT_LOG_KEEP: keep } });
  const [file] = config.audit.sinks;
  if (file?.type !== 'file') throw new Error('the shipped gateway.yaml has no audit file');
  t.equal(file.rotate.keep, Number(keep));
  const filesThatFit = sizeLimitBytes() / file.rotate.size;

  const directory = t.testdir({ state: {} });
  const state = join(directory, 'state');
  const smaller = mebibyte;
  const gateway = await startTestGateway({
    directory: state,
    yaml: shipped
      .replace('size: 256MiB, keep', `size: ${smaller}B, keep`)
      .replaceAll(/rate: [^}]*\/minute"? }/g, 'rate: 1000000/minute }'),
    env: { AUDIT_LOG_KEEP: keep, DATABASE_URL: `sqlite:${join(directory, 'portcullis.db')}` },
  });
  t.teardown(() => gateway.close());
  t.equal((await gateway.admin('GET', '/admin/audit')).status, 200, 'there is an index from now on');
  let most = 0;
  const rotated = () => readdirSync(state).filter((name) => /^audit\.log\.\d+$/.test(name));
  const newest = () => Number(rotated().sort().at(-1)?.split('.').at(-1) ?? 0);
  // Long refused paths make long records, and nothing is asked behind the gateway.
  const path = `/nowhere/${'x'.repeat(1_500)}`;
  for (let round = 0; round < 1_000 && newest() < 2 * Number(keep); round += 1) {
    const calls = Array.from({ length: 32 }, () => fetch(`${gateway.trafficUrl}${path}`));
    for (const answer of await Promise.all(calls)) await answer.arrayBuffer();
    most = Math.max(most, bytesBelow(state));
  }
  t.equal(newest(), 2 * Number(keep), 'it has rotated twice as often as it keeps files');
  // The oldest goes right behind the change.
  await until(() => rotated().length === Number(keep));
  t.comment(`FIGURE at most ${(most / smaller).toFixed(2)} files' worth, of ${filesThatFit} that fit`);
  t.ok(most > Number(keep) * smaller, 'the measure counts something');
  t.ok(most < filesThatFit * smaller, `${most} bytes`);
});

t.test('every volume that a replicated pod writes to is bounded', async (t) => {
  for (const { name, emptyDir } of pod.volumes ?? []) {
    if (emptyDir !== undefined) t.match(emptyDir, { sizeLimit: /^\d+Mi$/ }, name);
  }
});
