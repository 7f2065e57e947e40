import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { block, command, linesOf } from '../support/readme.ts';
import { type Manifest, render, schemaProblems } from './kubernetes.ts';
import { type PodSpec, podSecurityProblems, podSpecOf, referenceProblems } from './references.ts';

const folders = ['base', 'embedded', 'replicated', 'example'];

/** Environment that an operator gives by the Secrets. */
const given: Readonly<Record<string, Record<string, string>>> = {
  replicated: {
    DATABASE_URL: 'postgres://portcullis:password@db.example:5432/portcullis?sslmode=verify-full',
    REDIS_URL: 'rediss://redis.example:6379',
    SECRET_KEY: randomBytes(48).toString('base64'),
    API_KEY_HMAC_KEY: randomBytes(48).toString('base64'),
  },
};

for (const folder of folders) {
  const manifests = render(folder);

  t.test(`${folder}: Kubernetes would take every manifest as it is`, async (t) => {
    t.strictSame(schemaProblems(manifests), []);
  });

  t.test(`${folder}: the pod meets the restricted Pod Security Standard`, async (t) => {
    t.strictSame(podSecurityProblems(podSpecOf(manifests)), []);
  });

  t.test(`${folder}: every name leads somewhere`, async (t) => {
    t.strictSame(referenceProblems(manifests), []);
  });

  t.test(`${folder}: the gateway is a native sidecar that ends after the service`, async (t) => {
    const pod = podSpecOf(manifests);
    const gateway = pod.initContainers?.find(({ name }) => name === 'portcullis');
    t.equal(gateway?.restartPolicy, 'Always');
    t.match(gateway, { startupProbe: { httpGet: { path: '/livez' } } });
    t.notMatch(gateway, { lifecycle: {} }, 'it needs no preStop');
  });

  t.test(`${folder}: the gateway takes the configuration that it is given`, async (t) => {
    const directory = t.testdir();
    const path = join(directory, 'gateway.yaml');
    const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });
    writeFileSync(join(directory, 'audit.pem'), pem);
    writeFileSync(path, gatewayYamlOf(manifests).replace('/etc/portcullis', directory));
    const { config, warnings } = loadConfig({ path, env: given[folder] ?? {} });
    t.ok(config.routes.length > 0);
    t.strictSame(warnings, []);
  });
}

t.test('the embedded one is never two', async (t) => {
  const manifests = render('embedded');
  const deployment = manifests.find(({ kind }) => kind === 'Deployment');
  t.match(deployment, { spec: { replicas: 1, strategy: { type: 'Recreate' } } });
  t.match(autoscaler(manifests), { spec: { minReplicas: 1, maxReplicas: 1 } });
});

t.test('the README’s Ingress is one, and leads to the Service', async (t) => {
  const ingress = parse(block('ingress'));
  t.strictSame(schemaProblems([ingress]), []);
  const { name, port } = ingress.spec.rules[0].http.paths[0].backend.service;
  const service = render('replicated').find(({ kind }) => kind === 'Service');
  t.match(service, { metadata: { name }, spec: { ports: [port] } });
});

t.test(
  'the README applies folders that are there, each valid as a whole (there is no cluster to apply it to)',
  async (t) => {
    const applied = [...block('kubernetes').matchAll(/^kubectl apply -k deploy\/kubernetes\/(\S+)/gm)].map(
      ([, folder = '']) => folder,
    );
    t.strictSame(applied, ['embedded', 'replicated', 'monitoring']);
    const others = linesOf(block('kubernetes')).filter(
      (line) => !/^kubectl apply -k deploy\/|^docker build |^$/.test(line),
    );
    t.strictSame(others, [], 'there is nothing else in the block');
    for (const folder of applied) t.strictSame(schemaProblems(render(folder)), [], folder);
  },
);

t.test('the README’s volume for a token is one that a pod can have', async (t) => {
  const manifests = structuredClone(render('example'));
  const pod = podSpecOf(manifests) as unknown as LoosePod;
  pod.volumes.push(...parse(block('token-volume')).volumes);
  t.strictSame(schemaProblems(manifests), []);
  Object.assign(pod.volumes.at(-1)?.projected as Loose, {
    sources: [{ serviceAccountToken: { audiences: 'x' } }],
  });
  t.not(schemaProblems(manifests).length, 0, 'another word in it is found');
});

t.test('the README’s diff shows the ten lines', async (t) => {
  const [program = '', ...args] = command('diff ').split(' ');
  const { stdout } = spawnSync(program, args, { encoding: 'utf8' });
  const changed = stdout.split('\n').filter((line) => /^> *[^# ]/.test(line));
  t.equal(changed.length, 10, stdout);
});

t.test('the base has the gateway.yaml of the program', async (t) => {
  t.equal(
    readFileSync('deploy/kubernetes/base/gateway.yaml', 'utf8'),
    readFileSync('gateway.yaml', 'utf8'),
    'kustomize reads no file outside its folder; after a change: cp gateway.yaml deploy/kubernetes/base/',
  );
});

t.test('the replicated one divides the limits by as many as the autoscaler may make', async (t) => {
  const manifests = render('replicated');
  const gateway = podSpecOf(manifests).initContainers?.find(({ name }) => name === 'portcullis');
  const { maxReplicas } = autoscaler(manifests).spec as Loose;
  t.strictSame(
    (gateway?.env as readonly Loose[] | undefined)?.find(({ name }) => name === 'REPLICAS'),
    { name: 'REPLICAS', value: String(maxReplicas) },
  );
});

t.test('the example keeps nothing: no volume of it can be written by the gateway', async (t) => {
  const gateway = podSpecOf(render('example')).initContainers?.find(({ name }) => name === 'portcullis');
  t.ok(gateway?.volumeMounts?.length);
  t.ok(gateway?.volumeMounts?.every(({ readOnly }) => readOnly));
});

t.test('a service is guarded in ten changed lines', async (t) => {
  const [plain, guarded] = ['plain', 'guarded'].map((name) =>
    readFileSync(`deploy/kubernetes/example/${name}.yaml`, 'utf8')
      .split('\n')
      .filter((line) => !line.startsWith('#')),
  ) as [string[], string[]];
  t.equal(guarded.filter((line) => !plain.includes(line)).length, 10);
  t.equal(plain.filter((line) => !guarded.includes(line)).length, 2, 'of which two replace one each');
});

t.test('validation bites: each of these mutations is found', async (t) => {
  const manifests = render('replicated');
  for (const [title, mutate] of Object.entries(mutations)) {
    const mutated = structuredClone(manifests) as Manifest[];
    mutate(podSpecOf(mutated) as never, mutated);
    const problems = [
      ...schemaProblems(mutated),
      ...podSecurityProblems(podSpecOf(mutated)),
      ...referenceProblems(mutated),
    ];
    t.not(problems.length, 0, title);
  }
});

type Loose = Record<string, unknown>;
type LoosePod = PodSpec & Loose & { initContainers: Loose[]; containers: Loose[]; volumes: Loose[] };

const mutations: Readonly<Record<string, (pod: LoosePod, all: Manifest[]) => void>> = {
  'an unknown field in a container': ({ containers }) =>
    Object.assign(containers[0] ?? {}, { imagePulPolicy: 'Always' }),
  'an unknown field in a probe': ({ initContainers }) =>
    Object.assign((initContainers[0]?.livenessProbe ?? {}) as Loose, { period: 5 }),
  'a number that is text': (_, all) => Object.assign(autoscaler(all).spec as Loose, { minReplicas: 'two' }),
  'a quantity that is none': ({ containers }) =>
    Object.assign(containers[0] ?? {}, { resources: { requests: { cpu: '1', memory: 'plenty' } } }),
  'another version of a kind': (_, all) =>
    Object.assign(autoscaler(all), { apiVersion: 'autoscaling/v2beta1' }),
  'a privileged container': ({ initContainers }) =>
    Object.assign((initContainers[0]?.securityContext ?? {}) as Loose, { privileged: true }),
  'a container that may be root': (pod) => Object.assign(pod.securityContext ?? {}, { runAsNonRoot: false }),
  'a volume of the node': ({ volumes }) => volumes.push({ name: 'node', hostPath: { path: '/' } }),
  'a volume that is not there': ({ volumes }) => volumes.splice(0, 1),
  'a Secret that is not there': (_, all) =>
    all.splice(
      all.findIndex(({ kind }) => kind === 'Secret'),
      1,
    ),
  'a port by another name': ({ initContainers }) => Object.assign(initContainers[0] ?? {}, { ports: [] }),
  'a name of a sidecar’s port, which not every cluster finds': (_, all) => {
    const service = all.find(({ kind }) => kind === 'Service');
    Object.assign(service?.spec as Loose, { ports: [{ name: 'http', port: 80, targetPort: 'traffic' }] });
  },
  'a port that nothing listens on': (_, all) => {
    const policy = all.find(({ kind }) => kind === 'NetworkPolicy');
    Object.assign(policy?.spec as Loose, { ingress: [{ ports: [{ port: 8001 }] }] });
  },
  'a selector that selects nothing': (_, all) => {
    const service = all.find(({ kind }) => kind === 'Service');
    Object.assign(service?.spec as Loose, { selector: { app: 'other' } });
  },
};

function autoscaler(manifests: readonly Manifest[]): Manifest {
  const found = manifests.find(({ kind }) => kind === 'HorizontalPodAutoscaler');
  if (found === undefined) throw new Error('there is no autoscaler');
  return found;
}

function gatewayYamlOf(manifests: readonly Manifest[]): string {
  const found = manifests.find(({ kind, data }) => kind === 'ConfigMap' && (data as Loose)['gateway.yaml']);
  return String((found?.data as Loose | undefined)?.['gateway.yaml']);
}
