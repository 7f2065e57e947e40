/** What no single value of `inspection`, or of a route that uses it, shows. */
import { isJsonType } from '../http/media-type.ts';
import type { Draft } from './checks.ts';
import { nearest } from './nearest.ts';
import { either, type Path } from './problem.ts';
import type { Report } from './report.ts';
import type { RouteConfig } from './schema.ts';

/** Words that `inspect` knows without a set of that name. */
const ownWords = ['none', 'json'];

export function checkInspection({ inspection, routes }: Draft, report: Report): void {
  if (!inspection) return;
  for (const name of Object.keys(inspection).filter((word) => ownWords.includes(word)))
    report.key(['inspection', name], 'means something already', 'Give the set another name.');
  const known = [...ownWords, ...Object.keys(inspection)];
  for (const [index, route] of routes.entries())
    if (route !== undefined) checkRoute(['routes', index], route, known, report);
}

function checkRoute(path: Path, route: RouteConfig, known: readonly string[], report: Report): void {
  if (!known.includes(route.inspect)) {
    const near = nearest(route.inspect, known);
    const hint = near ? `Did you mean ${near}?` : `Write ${either(known)}, or add it under inspection.`;
    const inspectPath = [...path, 'inspect'];
    report.value(inspectPath, `there is no set${report.named(inspectPath, route.inspect)}`, hint);
  }
  if (route.inspect === 'none') {
    if (route.schema === undefined) return;
    report.value([...path, 'schema'], 'is for bodies that are inspected', 'Add inspect: json, or a set.');
    return;
  }
  for (const [index, type] of (route.content_types ?? []).entries()) {
    if (isJsonType(type)) continue;
    const hint = 'Write JSON types alone, or inspect: none.';
    report.value([...path, 'content_types', index], 'is no JSON, and this route inspects JSON', hint);
  }
}
