/**
 * The part of one worker in what a configuration bounds for the gateway as a whole. Connections are dealt to workers in
 * turn, so that an equal part is what each of them gets; together they never go over the whole.
 */
import type { Config } from '../config/schema.ts';

export function shareOfOne(config: Config): Config {
  const { workers, listen, upstreams, websockets, audit, rate_limits } = config;
  const part = (whole: number) => Math.max(1, Math.floor(whole / workers));
  const partOrNone = (whole: number) => (whole === 0 ? 0 : part(whole));
  const { connections, connections_per_address } = listen.limits;
  return {
    ...config,
    listen: {
      ...listen,
      limits: {
        ...listen.limits,
        connections: part(connections),
        connections_per_address: part(connections_per_address),
      },
    },
    upstreams: Object.fromEntries(
      Object.entries(upstreams).map(([name, upstream]) => [
        name,
        {
          ...upstream,
          connections: part(upstream.connections),
          pending: partOrNone(upstream.pending),
        },
      ]),
    ),
    websockets: { open: part(websockets.open), per_caller: part(websockets.per_caller) },
    audit: { ...audit, readers: { max: partOrNone(audit.readers.max) } },
    // Whoever counts alone while Redis is away counts for one of so many.
    rate_limits: { ...rate_limits, replicas: rate_limits.replicas * workers },
  };
}
