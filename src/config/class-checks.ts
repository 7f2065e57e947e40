/** What a route asks of its rate class, and who shares a bucket on public routes. */
import type { Draft } from './checks.ts';
import type { Path } from './problem.ts';
import type { Report } from './report.ts';
import type { RateClassConfig } from './schema.ts';

/** A request that costs more than a full bucket holds would never pass. */
export function checkCosts(draft: Draft, report: Report): void {
  for (const [index, route] of draft.routes.entries()) {
    const used = route && classOf(draft, route.class);
    if (!used || route.cost <= used.capacity) continue;
    const message = `is more than a full bucket of the class ${route.class} holds (${used.capacity}): no request would ever pass`;
    const hint = `Write at most ${used.capacity}, or burst: ${route.cost} at rate_limits.classes.${route.class}.`;
    report.value(['routes', index, 'cost'], message, hint);
  }
}

/** A bucket that all addresses share could be used up by one of them, which needs no credential for it. */
export function checkPublicPartitions(draft: Draft, report: Report): void {
  const ownClass: Path = ['rate_limits', 'classes', 'public', 'partition'];
  if (isShared(draft, 'public')) reportShared(ownClass, 'public', report);
  for (const [index, route] of draft.routes.entries()) {
    if (route?.permission !== 'none' || route.class === 'public' || !isShared(draft, route.class)) continue;
    reportShared(['routes', index, 'class'], route.class, report);
  }
}

function isShared(draft: Draft, className: string): boolean {
  return classOf(draft, className)?.partition === 'route';
}

function reportShared(path: Path, className: string, report: Report): void {
  const message = 'lets one address use up what a public route allows all of them';
  report.value(path, message, `Write partition: address+route at rate_limits.classes.${className}.`);
}

function classOf({ classes }: Draft, className: string): RateClassConfig | undefined {
  return Object.hasOwn(classes, className) ? classes[className] : undefined;
}
