/** What a route of the configuration asks of its bodies, made ready once. */
import { plainJson } from '../config/inspection-schema.ts';
import type { Config, RouteConfig } from '../config/schema.ts';
import { readTextFile } from '../config/text-file.ts';
import { compileBodySchema } from './body-schema.ts';
import { Inspection } from './inspection.ts';

/** @returns undefined where bodies are not inspected; @throws BodySchemaError, and what `node:fs` throws */
export function inspectionOf(config: Config, route: RouteConfig): Inspection | undefined {
  if (route.inspect === 'none') return undefined;
  const set = route.inspect === 'json' ? plainJson : config.inspection[route.inspect];
  if (set === undefined) throw new Error(`route ${route.path} names a set of rules that is not there`);
  return new Inspection({
    bounds: set.limits,
    rules: set.rules,
    schema: route.schema === undefined ? undefined : compileBodySchema(readTextFile(route.schema)),
  });
}
