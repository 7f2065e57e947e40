/** What no single value of a route with WebSockets shows. */
import type { Draft } from './checks.ts';
import type { Report } from './report.ts';

export function checkStreams({ routes }: Draft, report: Report): void {
  for (const [index, route] of routes.entries()) {
    // The handshake of RFC 6455 is a GET.
    if (!route?.websocket || route.methods === undefined || route.methods.includes('GET')) continue;
    const message = 'is on a route without GET, and every WebSocket begins with one';
    report.value(['routes', index, 'websocket'], message, 'Add GET to methods, or remove websocket.');
  }
}
