/** One run on paper: Markdown for the reader, a chart for the README. */
import { names } from './contenders.ts';
import type { Machine } from './machine.ts';
import { type Row, type Samples, verdictOf } from './rows.ts';
import { doubtsOf, ratioOf, type Spread, spreadOf } from './statistics.ts';

export interface Run {
  readonly machine: Machine;
  readonly at: Date;
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly samples: Samples;
  readonly rows: readonly Row[];
}

/** Above this share of the cores, others had a part in every figure. */
const loadSharePerCoreMax = 0.25;

export function isBusy({ load, cores }: Machine): boolean {
  return load > cores * loadSharePerCoreMax;
}

export function markdownOf(run: Run): string {
  return [
    '# Performance',
    '',
    `${run.at.toISOString()}, \`npm run bench\`: ${describe(run)}`,
    ...(isBusy(run.machine)
      ? [
          '',
          `**Provisional: the machine was busy (load ${run.machine.load.toFixed(1)} on ${run.machine.cores} cores) before anything was started. Only ratios within this run say something.**`,
        ]
      : []),
    '',
    ...targetTable(run.rows),
    '',
    'A request, by the processor time the operating system counted for the process and its children:',
    '',
    ...costTable(run.samples),
    '',
    ...notes(run),
  ].join('\n');
}

function describe({ machine, rounds, seconds, connections }: Run): string {
  const { processor, cores, memoryGiB, kernel, node, load } = machine;
  return [
    `${processor}, ${cores} cores, ${memoryGiB} GiB, Linux ${kernel}, Node ${node}, load ${load.toFixed(1)} at the start;`,
    `${rounds} rounds in turn of ${seconds} s each, ${connections} kept-alive connections; each peer on one core,`,
    'wrk, the upstream (110 bytes of JSON, TCP) and Redis on the other.',
  ].join(' ');
}

function targetTable(rows: readonly Row[]): string[] {
  return [
    '| what | measured | spread | must | aim | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows.map((row) => {
      const { value, unit, must, aim, atLeast } = row;
      const bound = (limit: number) => `${atLeast === true ? '≥' : '≤'} ${number(limit, unit)}`;
      const middle = typeof value === 'number' ? value : value.median;
      const spread = typeof value === 'number' ? '' : range(value, (limit) => number(limit, unit));
      return `| ${row.what} | ${number(middle, unit)} | ${spread} | ${bound(must)} | ${aim === undefined ? '' : bound(aim)} | ${verdictOf(row)} |`;
    }),
  ];
}

function costTable(samples: Samples): string[] {
  const floor = samples.get(names.bare) ?? [];
  return [
    '| who | µs a request | spread | against bare | requests/s | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...[...samples].map(([name, given]) => {
      const us = spreadOf(given.map((sample) => sample.us));
      const perSecond = spreadOf(given.map((sample) => sample.perSecond)).median;
      const doubts = doubtsOf(given).join('; ');
      return `| ${name} | ${us.median.toFixed(1)} | ${range(us, (limit) => limit.toFixed(1))} | ${ratioOf(given, floor).median.toFixed(2)} | ${Math.round(perSecond)} | ${doubts} |`;
    }),
  ];
}

function notes({ rows }: Run): string[] {
  const doubts = [...new Set(rows.flatMap((row) => row.doubts))].map((doubt) => `- ${doubt}`);
  return [
    'Medians; a ratio is taken within each round. All peers look up a key, count a limit, set identity and security',
    'headers and write one JSON line a request, but for bare, which does none of it. nginx has no metrics by route and',
    'no rate headers (with Lua: two of them); what peers leave out makes them cheaper, not Portcullis.',
    'Assertion: one that is used again, as within 10 s for the same request.',
    ...(doubts.length === 0 ? [] : ['', 'Why a row is not comparable:', '', ...doubts]),
    '',
  ];
}

function number(value: number, unit: Row['unit']): string {
  if (unit === 'MiB') return `${Math.round(value)} MiB`;
  return unit === 'ms' ? `${value.toFixed(2)} ms` : value.toFixed(2);
}

function range({ least, most }: Spread, text: (value: number) => string): string {
  return `${text(least)} to ${text(most)}`;
}

/** Bars of microseconds a request, with the least and the most of the rounds as a line. */
export function chartOf(run: Run): string {
  const bars = [...run.samples].map(([name, given]) => ({
    name,
    isOurs: !/^(?:bare|nginx|Fastify)/.test(name),
    us: spreadOf(given.map((sample) => sample.us)),
  }));
  const [left, width, step, top] = [300, 560, 24, 62];
  const scale = width / Math.max(...bars.map(({ us }) => us.most));
  const height = top + bars.length * step + 16;
  const lines = bars.map(({ name, isOurs, us }, index) => {
    const y = top + index * step;
    const x = (value: number) => (left + value * scale).toFixed(1);
    return [
      `<text x="${left - 8}" y="${y + 13}" text-anchor="end">${escaped(name)}</text>`,
      `<rect x="${left}" y="${y + 2}" width="${(us.median * scale).toFixed(1)}" height="15" fill="${isOurs ? '#2f6fde' : '#9aa4b2'}"/>`,
      `<path d="M${x(us.least)} ${y + 9.5}H${x(us.most)}" stroke="#111" stroke-width="1.5"/>`,
      `<text x="${(left + us.most * scale + 6).toFixed(1)}" y="${y + 13}">${us.median.toFixed(0)}</text>`,
    ].join('');
  });
  const { processor, cores, node, load } = run.machine;
  const busy = isBusy(run.machine) ? ', provisional: the machine was busy' : '';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="920" height="${height}" viewBox="0 0 920 ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    '<title>Processor time of the gateway for a request, by who it is</title>',
    `<rect width="920" height="${height}" fill="#fff"/>`,
    '<text x="16" y="24" font-size="15" font-weight="600">Processor time of the gateway, µs a request</text>',
    `<text x="16" y="44" fill="#555">${escaped(`${processor}, ${cores} cores, Node ${node}, load ${load.toFixed(1)} at the start, ${run.at.toISOString().slice(0, 10)}${busy}`)}</text>`,
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
