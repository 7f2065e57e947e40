/** What no schema shows: that a pod meets the restricted Pod Security Standard, and that every name leads somewhere. */
import type { Manifest } from './kubernetes.ts';

interface Container {
  readonly name: string;
  readonly image?: string;
  readonly ports?: ReadonlyArray<{
    readonly name?: string;
    readonly containerPort?: number;
    readonly hostPort?: number;
  }>;
  readonly env?: ReadonlyArray<{
    readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string } };
  }>;
  readonly envFrom?: ReadonlyArray<{ readonly secretRef?: { readonly name: string } }>;
  readonly securityContext?: Record<string, unknown> & { readonly capabilities?: Record<string, unknown> };
  readonly volumeMounts?: ReadonlyArray<{ readonly name: string; readonly readOnly?: boolean }>;
  readonly resources?: {
    readonly requests?: Record<string, string>;
    readonly limits?: Record<string, string>;
  };
  readonly restartPolicy?: string;
}

interface Volume {
  readonly name: string;
  readonly configMap?: { readonly name: string };
  readonly secret?: { readonly secretName: string };
  readonly projected?: {
    readonly sources: ReadonlyArray<{
      readonly configMap?: { readonly name: string };
      readonly secret?: { readonly name: string };
    }>;
  };
  readonly persistentVolumeClaim?: { readonly claimName: string };
  readonly [source: string]: unknown;
}

export interface PodSpec {
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly securityContext?: Record<string, unknown>;
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly enableServiceLinks?: boolean;
  readonly [field: string]: unknown;
}

export function podSpecOf(manifests: readonly Manifest[]): PodSpec {
  const deployment = manifests.find(({ kind }) => kind === 'Deployment');
  const spec = deployment?.spec as { template: { spec: PodSpec } } | undefined;
  if (spec === undefined) throw new Error('there is no Deployment');
  return spec.template.spec;
}

/** https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a little more. */
export function podSecurityProblems(pod: PodSpec): string[] {
  const problems: string[] = [];
  const must = (met: boolean, rule: string) => {
    if (!met) problems.push(rule);
  };
  for (const field of ['hostNetwork', 'hostPID', 'hostIPC']) must(!pod[field], `${field} is set`);
  const context = pod.securityContext ?? {};
  must(context.runAsNonRoot === true, 'runAsNonRoot is not true');
  must(typeof context.runAsUser === 'number' && context.runAsUser > 0, 'runAsUser is not above 0');
  const profile = context.seccompProfile as { type?: string } | undefined;
  must(profile?.type === 'RuntimeDefault', 'seccompProfile is not RuntimeDefault');
  must(pod.automountServiceAccountToken === false, 'a service account token is mounted');
  must(pod.enableServiceLinks === false, 'service links are injected');
  const allowed = [
    'configMap',
    'csi',
    'downwardAPI',
    'emptyDir',
    'ephemeral',
    'persistentVolumeClaim',
    'projected',
    'secret',
  ];
  for (const { name, ...source } of pod.volumes ?? []) {
    for (const kind of Object.keys(source)) must(allowed.includes(kind), `the volume ${name} is a ${kind}`);
  }
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    const { name, securityContext = {}, resources, ports = [] } = container;
    must(securityContext.allowPrivilegeEscalation === false, `${name} may escalate`);
    must(securityContext.privileged !== true, `${name} is privileged`);
    must(securityContext.readOnlyRootFilesystem === true, `${name} can write to its image`);
    const { drop = [], add = [] } = (securityContext.capabilities ?? {}) as {
      drop?: string[];
      add?: string[];
    };
    must(drop.includes('ALL'), `${name} keeps capabilities`);
    must(add.length === 0, `${name} adds capabilities`);
    must(securityContext.runAsUser !== 0, `${name} runs as root`);
    must(
      ports.every(({ hostPort }) => hostPort === undefined),
      `${name} takes a port of the node`,
    );
    must(resources?.requests?.cpu !== undefined, `${name} asks for no CPU`);
    must(resources?.requests?.memory !== undefined, `${name} asks for no memory`);
    must(resources?.limits?.memory !== undefined, `${name} has no limit of memory`);
  }
  return problems;
}

/** Names of ports, volumes, ConfigMaps, Secrets, claims and accounts that nothing in the same rendering has. */
export function referenceProblems(manifests: readonly Manifest[]): string[] {
  const problems: string[] = [];
  const named = (kind: string, name: string | undefined, from: string) => {
    const there = manifests.some((one) => one.kind === kind && one.metadata.name === name);
    if (!there) problems.push(`${from}: there is no ${kind} ${name}`);
  };
  const pod = podSpecOf(manifests);
  const containers = [...(pod.initContainers ?? []), ...pod.containers];
  const ports = new Set(containers.flatMap(({ ports = [] }) => ports.map(({ name }) => name)));
  named('ServiceAccount', pod.serviceAccountName, 'the pod');
  for (const { name, configMap, secret, projected, persistentVolumeClaim } of pod.volumes ?? []) {
    for (const source of projected?.sources ?? []) {
      if (source.configMap) named('ConfigMap', source.configMap.name, `volume ${name}`);
      if (source.secret) named('Secret', source.secret.name, `volume ${name}`);
    }
    if (configMap) named('ConfigMap', configMap.name, `volume ${name}`);
    if (secret) named('Secret', secret.secretName, `volume ${name}`);
    if (persistentVolumeClaim)
      named('PersistentVolumeClaim', persistentVolumeClaim.claimName, `volume ${name}`);
  }
  for (const { name, volumeMounts = [], envFrom = [], env = [] } of containers) {
    for (const mount of volumeMounts) {
      const there = pod.volumes?.some((volume) => volume.name === mount.name);
      if (!there) problems.push(`${name}: there is no volume ${mount.name}`);
    }
    for (const { secretRef } of envFrom) if (secretRef) named('Secret', secretRef.name, name);
    for (const { valueFrom } of env)
      if (valueFrom?.secretKeyRef) named('Secret', valueFrom.secretKeyRef.name, name);
  }
  const text = JSON.stringify(manifests.filter(({ kind }) => kind !== 'ConfigMap'));
  for (const [, port] of text.matchAll(/"(?:targetPort|port)":"([a-z-]+)"/g)) {
    if (!ports.has(port)) problems.push(`there is no port ${port}`);
  }
  problems.push(...portProblems(manifests, containers));
  for (const { kind, metadata, spec } of manifests) {
    const { selector, podSelector } = (spec ?? {}) as Record<string, Record<string, unknown>>;
    const labels =
      selector?.matchLabels ?? podSelector?.matchLabels ?? (kind === 'Service' ? selector : undefined);
    if (labels === undefined) continue;
    const own = labelsOf(manifests);
    for (const [label, value] of Object.entries(labels)) {
      if (own[label] !== value)
        problems.push(`${kind} ${metadata.name} selects ${label}=${value}, which no pod has`);
    }
  }
  return problems;
}

/** Kubernetes before 1.32, and some network plugins, look for a name among the ports of `containers` alone. */
function portProblems(manifests: readonly Manifest[], containers: PodSpec['containers']): string[] {
  const numbers = new Set(containers.flatMap(({ ports = [] }) => ports.map((port) => port.containerPort)));
  const inbound = manifests.flatMap(({ kind, spec }) => {
    const { ports, ingress } = (spec ?? {}) as Record<string, Array<Record<string, unknown>> | undefined>;
    if (kind === 'Service') return (ports ?? []).map(({ targetPort }) => targetPort);
    if (kind !== 'NetworkPolicy') return [];
    return (ingress ?? []).flatMap((rule) =>
      (rule.ports as Array<{ port: unknown }>).map(({ port }) => port),
    );
  });
  return inbound
    .filter((port) => typeof port !== 'number' || !numbers.has(port))
    .map((port) => `${port} is no number of a port of the pod`);
}

function labelsOf(manifests: readonly Manifest[]): Record<string, string> {
  const deployment = manifests.find(({ kind }) => kind === 'Deployment');
  const spec = deployment?.spec as { template: { metadata: { labels: Record<string, string> } } };
  return spec.template.metadata.labels;
}
