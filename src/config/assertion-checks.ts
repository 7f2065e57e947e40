/** `assertion` of a route: that what is signed for a service cannot be taken for a token. */
import type { Draft } from './checks.ts';
import type { Report } from './report.ts';

/**
 * Their types differ, and ours are told apart by it; but a service that verifies our tokens with a library that does
 * not look at the type goes by the audience.
 */
export function checkAssertions({ routes, auth }: Draft, report: Report): void {
  if (!auth) return;
  for (const [index, route] of routes.entries()) {
    if (!route?.assertion || route.upstream !== auth.tokens.audience) continue;
    const message =
      'is also auth.tokens.audience, so that an assertion for this upstream would have the audience of an access token';
    report.value(['routes', index, 'upstream'], message, 'Give the upstream another name.');
  }
}
