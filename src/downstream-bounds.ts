/** The bounds of clients' connections, from the words of gateway.yaml to those of the server. */
import type { Config } from './config/schema.ts';
import type { DownstreamLimits, DownstreamTimeouts } from './downstream.ts';

export function downstreamBounds({ listen }: Config): {
  timeouts: DownstreamTimeouts;
  limits: DownstreamLimits;
} {
  const { timeouts, limits } = listen;
  return {
    timeouts: { headersMs: timeouts.headers, requestMs: timeouts.request, idleMs: timeouts.idle },
    limits: {
      headerBytesMax: limits.header_bytes,
      connectionsMax: limits.connections,
      connectionsPerAddressMax: limits.connections_per_address,
      pipelinedMax: limits.pipelined,
      minRate: limits.min_rate,
      stallMs: timeouts.stall,
    },
  };
}
