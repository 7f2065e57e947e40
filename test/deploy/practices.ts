/** What Monokle, a linter of manifests, says of them: only by rules that are in its package, with no word to anyone. */
import {
  DefaultPluginLoader,
  DisabledFixer,
  MonokleValidator,
  ResourceParser,
  SchemaLoader,
} from '@monokle/validation';
import { stringify } from 'yaml';
import type { Manifest } from './kubernetes.ts';

export interface Finding {
  /** Such as `practices/cpu-limit`. */
  readonly rule: string;
  /** Kind and name of the manifest. */
  readonly manifest: string;
}

/**
 * Its other plugins fetch what they need from the network (schemas, policies), ask for labels by a convention of their
 * own, or look for links and at text in ways that say nothing of manifests that are rendered; see `referenceProblems`.
 */
const plugins = ['pod-security-standards', 'practices'] as const;

/** All rules of these plugins, those too that are off unless asked for (the restricted standard is). */
export async function openLinter(): Promise<Linter> {
  const validator = new MonokleValidator({
    // Its default would look a plugin that it does not know up on the network.
    loader: new DefaultPluginLoader(),
    parser: new ResourceParser(),
    schemaLoader: new SchemaLoader(),
    suppressors: [],
    fixer: new DisabledFixer(),
  });
  const loaded = Object.fromEntries(plugins.map((plugin) => [plugin, true]));
  await validator.preload({ plugins: loaded });
  const rules = plugins.flatMap((plugin) =>
    (validator.rules[plugin] ?? []).map(({ name }) => `${plugin}/${name}`),
  );
  await validator.preload({
    plugins: loaded,
    rules: Object.fromEntries(rules.map((rule) => [rule, 'err' as const])),
  });
  return new Linter(validator, rules);
}

export class Linter {
  readonly #validator: MonokleValidator;
  readonly rules: readonly string[];

  constructor(validator: MonokleValidator, rules: readonly string[]) {
    this.#validator = validator;
    this.rules = rules;
  }

  /** Each rule once for each manifest it finds fault with. */
  async findings(manifests: readonly Manifest[]): Promise<Finding[]> {
    const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    const { runs } = await this.#validator.validate({
      resources: manifests.map((content, index) => ({
        id: String(index),
        fileId: String(index),
        filePath: `${index}.yaml`,
        fileOffset: 0,
        name: content.metadata.name,
        apiVersion: content.apiVersion,
        kind: content.kind,
        namespace: 'default',
        content,
        text: stringify(content),
      })),
    });
    const found = new Map<string, Finding>();
    for (const { tool, results } of runs) {
      const parts = [tool.driver, ...(tool.extensions ?? [])];
      for (const { ruleId, locations } of results) {
        const plugin = parts.find(({ rules }) => rules?.some(({ id }) => id === ruleId));
        const rule = `${plugin?.name}/${plugin?.rules?.find(({ id }) => id === ruleId)?.name}`;
        const place = locations.find(
          ({ physicalLocation }) => physicalLocation?.artifactLocation.uriBaseId === 'RESOURCE',
        );
        const manifest = names[Number(place?.physicalLocation?.artifactLocation.uri)] ?? 'unknown';
        found.set(`${rule} ${manifest}`, { rule, manifest });
      }
    }
    return [...found.values()];
  }
}
