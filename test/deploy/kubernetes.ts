/** Renders the manifests as `kubectl apply -k` would, and judges them by the schemas of Kubernetes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { PodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import { PrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import { Deployment } from 'kubernetes-models/apps/v1/Deployment';
import { HorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler';
import { Ingress } from 'kubernetes-models/networking.k8s.io/v1/Ingress';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { PodDisruptionBudget } from 'kubernetes-models/policy/v1/PodDisruptionBudget';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { PersistentVolumeClaim } from 'kubernetes-models/v1/PersistentVolumeClaim';
import { Secret } from 'kubernetes-models/v1/Secret';
import { Service } from 'kubernetes-models/v1/Service';
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import { parseAllDocuments } from 'yaml';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly [field: string]: unknown;
}

interface Model {
  readonly apiVersion: string;
  readonly kind: string;
  new (data: never): { validate(): void };
}

/** The package each is from, which its types come from as well. */
const models: ReadonlyArray<readonly [model: Model, module: string]> = [
  ...(
    [
      [Deployment, 'apps/v1'],
      [HorizontalPodAutoscaler, 'autoscaling/v2'],
      [Ingress, 'networking.k8s.io/v1'],
      [NetworkPolicy, 'networking.k8s.io/v1'],
      [PodDisruptionBudget, 'policy/v1'],
      [ConfigMap, 'v1'],
      [PersistentVolumeClaim, 'v1'],
      [Secret, 'v1'],
      [Service, 'v1'],
      [ServiceAccount, 'v1'],
    ] as const
  ).map(([model, group]) => [model as Model, `kubernetes-models/${group}/${model.kind}`] as const),
  ...[PodMonitor, PrometheusRule].map(
    (model) =>
      [
        model as Model,
        `@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/${model.kind}`,
      ] as const,
  ),
];

/** @param folder below `deploy/kubernetes` */
export function render(folder: string): Manifest[] {
  const { status, stdout, stderr, error } = spawnSync(
    'kubectl',
    ['kustomize', resolve('deploy/kubernetes', folder)],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw error ?? new Error(`kubectl kustomize: ${stderr}`);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

/**
 * What the API server would refuse: a kind that is not there, a value of another type or form, a field that does not
 * exist. The schemas let unknown fields pass; the types that are made from the same source do not.
 */
export function schemaProblems(manifests: readonly Manifest[]): string[] {
  const problems: string[] = [];
  const lines: string[] = [];
  for (const [index, manifest] of manifests.entries()) {
    const name = `${manifest.kind} ${manifest.metadata.name}`;
    const found = models.find(
      ([model]) => model.apiVersion === manifest.apiVersion && model.kind === manifest.kind,
    );
    if (found === undefined) {
      problems.push(`${name}: there is no ${manifest.apiVersion} ${manifest.kind}`);
      continue;
    }
    const [model, module] = found;
    try {
      new model(manifest as never).validate();
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
    lines.push(
      `import type { I${model.kind} as T${index} } from '${module}';`,
      `export const manifest${index}: T${index} = ${JSON.stringify(manifest)};`,
    );
  }
  return [...problems, ...typeProblems(lines)];
}

function typeProblems(lines: readonly string[]): string[] {
  // Inside the checkout, where the types are found.
  const folder = mkdtempSync(resolve('node_modules/.manifests-'));
  try {
    const file = join(folder, 'manifests.ts');
    writeFileSync(file, lines.join('\n'));
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--ignoreConfig'];
    // Without the test runner's own loader, which every process that it starts is given.
    const command = ['-u', 'NODE_OPTIONS', 'tsc', ...options, file];
    const { status, stdout, stderr, error } = spawnSync('env', command, { encoding: 'utf8' });
    if (error !== undefined) throw error;
    const problems = stdout.split('\n').filter((line) => line.includes('error TS'));
    if (status !== 0 && problems.length === 0) throw new Error(`tsc: ${stdout}${stderr}`);
    return problems;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
