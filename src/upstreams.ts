/** Opens the upstreams of a configuration, and says in metrics and log how they fare. */
import type { Clock } from './clock.ts';
import type { Config } from './config/schema.ts';
import { Upstream } from './http/upstream.ts';
import { SharedByUse } from './shared-by-use.ts';
import type { Logger } from './telemetry/log.ts';
import type { Metrics } from './telemetry/metrics.ts';

interface Surroundings {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Upstreams, with their connections and what is thought of them, go on where their settings stay. */
export type SharedUpstreams = SharedByUse<Upstream>;

export function sharedUpstreams(metrics: Metrics): SharedUpstreams {
  const shared = new SharedByUse<Upstream>(async (upstream) => {
    await upstream.close();
    const isReplaced = shared.things().some(({ name }) => name === upstream.name);
    if (!isReplaced) metrics.forgetUpstream(upstream.name);
  });
  return shared;
}

export interface HeldUpstreams {
  readonly byName: ReadonlyMap<string, Upstream>;
  /** Once no request is on its way to one of them. */
  close(): Promise<void>;
}

export function openUpstreams(
  config: Config,
  shared: SharedUpstreams,
  surroundings: Surroundings,
): HeldUpstreams {
  const held = Object.entries(config.upstreams).map(
    ([name, upstream]) =>
      [name, shared.hold([name, upstream], () => openUpstream(name, upstream, surroundings))] as const,
  );
  return {
    byName: new Map(held.map(([name, { thing }]) => [name, thing])),
    close: async () => {
      await Promise.all(held.map(([, { release }]) => release()));
    },
  };
}

function openUpstream(
  name: string,
  { urls, connections, pending, timeouts, openapi, ejection, breaker, health }: Config['upstreams'][string],
  { clock, metrics, log }: Surroundings,
): Upstream {
  metrics.upstreamState(name, true, 0);
  return new Upstream({
    name,
    urls,
    connections,
    pending,
    connectTimeoutMs: timeouts.connect,
    responseTimeoutMs: timeouts.response,
    idleTimeoutMs: timeouts.idle,
    openapiPath: openapi,
    ejectAfter: urls.length === 1 ? 0 : ejection.failures,
    ejectMs: ejection.time,
    breakAfter: breaker.failures,
    breakMs: breaker.time,
    health: health && {
      path: health.path,
      intervalMs: health.interval,
      timeoutMs: health.timeout,
      healthyAfter: health.healthy,
      unhealthyAfter: health.unhealthy,
    },
    clock,
    random: Math.random,
    onChange: (state, address) => {
      metrics.upstreamState(name, state.up, state.ejected);
      const where = { upstream: name, address: address.url, ejected: state.ejected };
      if (address.isOut) log.warn(where, 'an address of this upstream is left out');
      else if (address.isUp) log.info(where, 'an address of this upstream answers again');
      else log.warn(where, 'a request to this upstream has failed');
    },
  });
}
