/** The table that is asked of us: what against what, and how much it may be. */
import { names } from './contenders.ts';
import type { AddedLatency, LargeBody, Memory } from './extremes.ts';
import type { Sample } from './load.ts';
import { doubtsOf, ratioOf, type Spread } from './statistics.ts';

export type Samples = ReadonlyMap<string, readonly Sample[]>;

export interface Row {
  readonly what: string;
  readonly value: Spread | number;
  readonly unit: '' | 'ms' | 'MiB';
  /** Bounds; `atLeast` where more is better. */
  readonly must: number;
  readonly aim: number | undefined;
  readonly atLeast?: boolean;
  /** Why it says nothing this time. */
  readonly doubts: readonly string[];
}

type Ratio = readonly [what: string, of: string, against: string, must: number, aim: number | undefined];

const ratios: readonly Ratio[] = [
  ['the full way (API key), against bare', names.key, names.bare, 1.25, 1.1],
  ['the same with Redis, leases, against bare', names.leases, names.bare, 1.3, 1.15],
  ['the same with Redis, a round trip a request, against bare', names.asked, names.bare, 1.7, 1.4],
  ['verified JWT (seen before), against bare', names.jwt, names.bare, 1.3, 1.15],
  ['Redis leases, against nginx + Lua + Redis', names.leases, names.lua, 1.5, 1],
  ['assertion on, against off', names.assertion, names.key, 1.1, 1.03],
  ['against the Fastify stack', names.key, names.fastify, 0.45, 0.3],
  ['Redis leases, against Fastify with Redis', names.leases, names.fastifyRedis, 0.45, 0.3],
  ['many keys and 1,000 routes, against one key and ten', names.many, names.few, 1.05, undefined],
  ['401, against passing', names.unauthenticated, names.key, 1, undefined],
  ['429, against passing', names.limited, names.key, 1, undefined],
  ['404, against passing', names.unknown, names.key, 1, undefined],
  ['413, against passing, a connection each', names.tooLarge, names.newConnection, 1, undefined],
];

/** @param missing by contender: why it did not do what its name says */
export function ratioRows(samples: Samples, missing: ReadonlyMap<string, string>): Row[] {
  return ratios.flatMap(([what, of, against, must, aim]) => {
    const [above, below] = [samples.get(of), samples.get(against)];
    if (above === undefined || below === undefined) return [];
    const doubts = [of, against].flatMap((name) => [
      ...doubtsOf(samples.get(name) ?? []).map((doubt) => `${name}: ${doubt}`),
      ...(missing.has(name) ? [`${name}: ${missing.get(name)}`] : []),
    ]);
    return [{ what, value: ratioOf(above, below), unit: '', must, aim, doubts } as const];
  });
}

export function latencyRows({ perSecond, p50Ms, p99Ms, doubts: reasons }: AddedLatency): Row[] {
  const at = `latency added at half load (${Math.round(perSecond)}/s)`;
  const doubts = reasons.map((reason) => `latency: ${reason}`);
  return [
    { what: `${at}, p50`, value: p50Ms, unit: 'ms', must: 0.5, aim: 0.25, doubts },
    { what: `${at}, p99`, value: p99Ms, unit: 'ms', must: 3, aim: 1.5, doubts },
  ];
}

export function memoryRows({ restMiB, idleMiB, connections }: Memory): Row[] {
  const doubts = connections < 10_000 ? [`only ${connections} connections`] : [];
  const idle = `memory under ${connections.toLocaleString('en')} idle connections`;
  return [
    { what: 'memory at rest', value: restMiB, unit: 'MiB', must: 110, aim: undefined, doubts: [] },
    { what: idle, value: idleMiB, unit: 'MiB', must: 300, aim: undefined, doubts },
  ];
}

/** MiB by which memory may grow and still be called constant: the young generation, and what is on its way. */
const grownMax = 64;

export function bodyRows(bodies: readonly LargeBody[], mib: number): Row[] {
  const tooSmall = mib < 1_024 ? [`only ${mib} MiB`] : [];
  return bodies.flatMap(({ way, speed, cpu, grownMiB, doubts: reasons }): Row[] => {
    const what = `a large body ${way}`;
    const doubts = [...tooSmall, ...reasons.map((reason) => `${what}: ${reason}`)];
    return [
      {
        what: `${what}: speed, against bare`,
        value: speed,
        unit: '',
        must: 0.7,
        aim: 0.9,
        atLeast: true,
        doubts,
      },
      { what: `${what}: CPU, against bare`, value: cpu, unit: '', must: 1 / 0.7, aim: 1 / 0.9, doubts },
      { what: `${what}: memory grown`, value: grownMiB, unit: 'MiB', must: grownMax, aim: undefined, doubts },
    ];
  });
}

/** Whether a row is what was asked for. */
export function verdictOf({ value, must, aim, atLeast = false, doubts }: Row): string {
  if (doubts.length > 0) return 'not comparable';
  const middle = typeof value === 'number' ? value : value.median;
  const holds = (bound: number) => (atLeast ? middle >= bound : middle <= bound);
  if (aim !== undefined && holds(aim)) return 'aim met';
  return holds(must) ? 'met' : 'missed';
}
