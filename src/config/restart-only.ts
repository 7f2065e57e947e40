/** Which settings can change while the gateway runs. All that is not named here needs a restart. */
import { isDeepStrictEqual } from 'node:util';
import type { Config } from './schema.ts';

/**
 * What one request takes from its configuration and nothing else holds on to. A setting that is new in the schema is
 * told to need a restart until it is proven not to, rather than being taken and having no effect.
 */
const live: ReadonlySet<string> = new Set([
  'listen.trusted_proxies',
  'listen.tls.cert',
  'listen.tls.key',
  'listen.tls.client_ca',
  'listen.tls.min_version',
  'auth.issuers',
  'auth.certificates',
  'auth.failures',
  'rate_limits.classes',
  'upstreams',
  'routes',
  'inspection',
  'endpoints',
  'cors',
  'headers',
  'log',
]);

/** Dotted paths of what differs and cannot change without a restart; a path alone tells nothing of its value. */
export function changesThatNeedRestart(before: Config, after: Config): string[] {
  return differences(before, after, '');
}

function differences(before: unknown, after: unknown, path: string): string[] {
  if (live.has(path) || isDeepStrictEqual(before, after)) return [];
  if (!isMap(before) || !isMap(after)) return [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) =>
    differences(before[key], after[key], path === '' ? key : `${path}.${key}`),
  );
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
