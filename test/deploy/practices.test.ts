import t from 'tap';
import { render } from './kubernetes.ts';
import { openLinter } from './practices.ts';
import { podSpecOf } from './references.ts';

const linter = await openLinter();

/** What is found and left as it is, each with its reason. */
const ruledOut: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  // A limit of CPU throttles a gateway in the middle of its requests while the node has CPU to spare; its request
  // already keeps its share from others.
  'practices/cpu-limit': {
    base: 'Deployment tool-registry',
    embedded: 'Deployment tool-registry',
    replicated: 'Deployment tool-registry',
    example: 'Deployment orders',
  },
  // Nobody applies the base: the overlays name the registry and the tag, and a tag here would be one to forget.
  'practices/image-tagged': { base: 'Deployment tool-registry' },
};

for (const folder of ['base', 'embedded', 'replicated', 'example', 'monitoring']) {
  t.test(`${folder}: Monokle finds nothing but what is ruled out`, async (t) => {
    const expected = Object.entries(ruledOut).flatMap(([rule, places]) =>
      places[folder] === undefined ? [] : [{ rule, manifest: places[folder] }],
    );
    t.strictSame(await linter.findings(render(folder)), expected);
  });
}

t.test('both levels of the Pod Security Standard and the practices are asked for', async (t) => {
  const count = (plugin: string) => linter.rules.filter((rule) => rule.startsWith(`${plugin}/`)).length;
  t.strictSame(
    ['pod-security-standards', 'practices'].map(count),
    [17, 22],
    'a rule more or less is one to look at',
  );
});

t.test('the linter bites: each of these mutations is found by its rule', async (t) => {
  const manifests = render('replicated');
  for (const [rule, mutate] of Object.entries(mutations)) {
    const mutated = structuredClone(manifests);
    const { initContainers, volumes } = podSpecOf(mutated) as unknown as LoosePod;
    const [gateway] = initContainers;
    if (gateway === undefined) throw new Error('there is no sidecar');
    mutate(gateway, volumes);
    const found = (await linter.findings(mutated)).map((finding) => finding.rule);
    t.ok(found.includes(rule), `${rule}: ${found.join(', ')}`);
  }
});

type Loose = Record<string, unknown>;
type LoosePod = { initContainers: Loose[]; volumes: Loose[] };

const inContext = (fields: Loose) => (gateway: Loose) =>
  Object.assign(gateway.securityContext as Loose, fields);

const mutations: Readonly<Record<string, (gateway: Loose, volumes: Loose[]) => void>> = {
  'pod-security-standards/privileged-containers': inContext({ privileged: true }),
  'pod-security-standards/privilege-escalation': inContext({ allowPrivilegeEscalation: true }),
  'pod-security-standards/running-as-non-root': inContext({ runAsNonRoot: false }),
  'pod-security-standards/running-as-non-root-user': inContext({ runAsUser: 0 }),
  'pod-security-standards/capabilities-strict': inContext({ capabilities: { drop: [] } }),
  'pod-security-standards/capabilities': inContext({
    capabilities: { drop: ['ALL'], add: ['NET_RAW', 'SYS_TIME'] },
  }),
  'pod-security-standards/host-path-volumes': (_, volumes) =>
    volumes.push({ name: 'node', hostPath: { path: '/' } }),
  'pod-security-standards/host-ports': (gateway) =>
    Object.assign(gateway, { ports: [{ containerPort: 8000, hostPort: 8000 }] }),
  'practices/no-latest-image': (gateway) =>
    Object.assign(gateway, { image: 'registry.example/portcullis:latest' }),
  'practices/image-tagged': (gateway) => Object.assign(gateway, { image: 'registry.example/portcullis' }),
  'practices/no-writable-fs': inContext({ readOnlyRootFilesystem: false }),
  'practices/memory-limit': (gateway) =>
    Object.assign(gateway, { resources: { requests: { cpu: '100m', memory: '128Mi' } } }),
  'practices/memory-request': (gateway) =>
    Object.assign(gateway, { resources: { limits: { memory: '1Gi' } } }),
  'practices/no-low-user-id': inContext({ runAsUser: 1000 }),
};
