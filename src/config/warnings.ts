/** What is allowed and yet worth a second look. */
import type { Report } from './report.ts';
import type { Config, RouteConfig } from './schema.ts';

/** Tells what an operator may not have meant to `report`. */
export function warn(config: Config, report: Report): void {
  if (!isLoopback(config.listen.host)) {
    const hint = 'End TLS in front of the gateway, or listen on 127.0.0.1 beside the service that calls it.';
    report.value(['listen', 'host'], 'credentials reach this address without TLS', hint);
  }
  for (const [index, route] of config.routes.entries()) warnOfRoute(['routes', index], route, report);
}

function warnOfRoute(path: readonly [string, number], route: RouteConfig, report: Report): void {
  if (route.permission === 'none' && changesThings(route)) {
    const hint = 'Write a permission, or methods: [GET, HEAD].';
    report.value([...path, 'permission'], 'anyone may change things here without a credential', hint);
  }
  if (route.forward_credentials) {
    const hint = 'Remove it unless the upstream checks credentials itself.';
    report.value([...path, 'forward_credentials'], "the upstream sees its callers' credentials", hint);
  }
}

function changesThings({ methods }: RouteConfig): boolean {
  return (
    methods === undefined || methods.some((method) => !['GET', 'HEAD', 'OPTIONS', 'QUERY'].includes(method))
  );
}

function isLoopback(host: string): boolean {
  return /^(?:localhost|::1|127(?:\.\d{1,3}){3})$/.test(host);
}
